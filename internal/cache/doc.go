// Package cache answers requests from memory.
package cache

// Package homedir is empty: go mod tidy wants what Helm's own tests import.
package homedir

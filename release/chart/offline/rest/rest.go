// Package rest says which cluster is asked: none.
package rest

// Config has nothing to configure.
type Config struct{}

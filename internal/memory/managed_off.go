//go:build unmanaged

package memory

const managed = false

//go:build !unmanaged

package memory

// managed is true but with the build tag unmanaged, which is there to measure what all
// this is worth: without a budget, without buffers that are used again, and with the
// collector as Go has it.
const managed = true

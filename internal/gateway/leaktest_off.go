//go:build !leaktest

package gateway

// injected is nothing but in a build for tests of leaks (-tags leaktest).
func injected() []stage { return nil }

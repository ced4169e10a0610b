// Package testkit gives tests what several of them need: servers on bare sockets,
// waiting, and their inputs: a few of our own, which are part of
// the repository, and recordings of real services and conformance suites, which
// are not. A test that goes by Each covers its path with the former everywhere
// and with the latter where they are. No program imports it.
package testkit

import (
	"os"
	"path/filepath"
	"testing"
)

const (
	// dataVariable names the folder of the recordings. Without it they are looked
	// for in ../shared/data, beside the checkout.
	dataVariable = "SLUICE_TEST_DATA"

	// requireVariable, when it is 1, makes a failure of missing recordings.
	requireVariable = "SLUICE_REQUIRE_DATA"

	// skippedVariable names a file that gets a line for each test that was
	// skipped for want of them. make test counts its lines.
	skippedVariable = "SLUICE_SKIPPED"
)

// Recorded gives the path of a recording, named from its folder's root with
// slashes. Where it is missing the test is skipped, or fails if that is asked for.
func Recorded(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(dataDir(t), filepath.FromSlash(name))
	_, err := os.Stat(path)
	if err == nil {
		return path
	}
	if os.Getenv(requireVariable) == "1" {
		t.Fatalf("a recording is missing, and %s=1: %v", requireVariable, err)
	}
	noteSkip(t)
	t.Skipf("set %s to the folder of recordings: %v", dataVariable, err)
	return ""
}

// dataDir finds the folder of recordings.
func dataDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv(dataVariable); dir != "" {
		return dir
	}
	return filepath.Join(root(t), "..", "shared", "data")
}

// root is the checkout's folder: tests run in that of their package.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "internal", "testkit", "testkit.go")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("the working directory is in no checkout")
		}
		dir = up
	}
}

func noteSkip(t testing.TB) {
	t.Helper()
	path := os.Getenv(skippedVariable)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(t.Name() + "\n") // one write: several packages' tests run at once
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Package redistest runs real Redis servers for tests, and spoils what they say.
package redistest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/testkit"
)

// Server is a running redis-server, and one who looks into it.
type Server struct {
	*goredis.Client
	args []string
	cmd  *exec.Cmd
}

// Start runs a server on a socket; more follow its arguments. It ends with the
// test.
func Start(t testing.TB, more ...string) *Server {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	s := &Server{args: append([]string{"--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--loglevel", "warning",
		"--dir", filepath.Dir(socket)}, more...)}
	s.Client = goredis.NewClient(&goredis.Options{Network: "unix", Addr: socket, Protocol: 2})
	t.Cleanup(func() { s.Client.Close() })
	s.Run(t)
	return s
}

// Run starts the server again after Kill.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	s.cmd = Command(t, "redis-server", "redis-server", s.args...)
	testkit.Until(t, "server", func() bool { return s.Ping(t.Context()).Err() == nil })
}

// Kill ends the server as a crash does.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// Signal sends the server's process a signal, such as SIGSTOP.
func (s *Server) Signal(sig os.Signal) { s.cmd.Process.Signal(sig) }

// URL is where the server is.
func (s *Server) URL() string { return "unix://" + s.Options().Addr }

// Command starts one of Redis's programs; it is killed at the end.
func Command(t testing.TB, debian, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: install the Debian package %s", err, debian)
	}
	cmd := exec.Command(path, args...)
	if testing.Verbose() {
		cmd.Stdout = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// Port returns a port of loopback that was free just now.
func Port(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(testkit.Vacant(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

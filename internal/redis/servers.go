package redis

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Servers makes Clients. Those of the same URL, with the same certificates,
// share their connections, which are closed with the last of them. The zero
// value is ready for use, by several goroutines.
type Servers struct {
	Patience time.Duration // in place of the constant, which 0 stands for: a test has more of it than a user

	mu  sync.Mutex
	all map[identity]*server
}

// server is the connections to what a URL names.
type server struct {
	redis    Server
	dialer   *dialer
	patience time.Duration
	cancel   context.CancelFunc // of what dials
	users    int                // guarded by Servers.mu
}

// acquire gives the server of a URL for one more user.
func (s *Servers) acquire(rawURL string) (*server, func(), error) {
	place, err := parse(rawURL)
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sv := s.all[place.id]
	if sv == nil {
		sv = connect(place.UniversalOptions, cmp.Or(s.Patience, Patience))
		if s.all == nil {
			s.all = make(map[identity]*server)
		}
		s.all[place.id] = sv
	}
	sv.users++
	return sv, func() { s.release(place.id, sv) }, nil
}

func (s *Servers) release(id identity, sv *server) {
	s.mu.Lock()
	sv.users--
	last := sv.users == 0
	if last {
		delete(s.all, id)
	}
	s.mu.Unlock()
	if last {
		sv.close()
	}
}

// Check says what is wrong with a URL, and shows nothing of it but names of
// files. It reads these.
func Check(rawURL string) error {
	_, err := parse(rawURL)
	return err
}

// quiet drops what go-redis would print: what matters comes as errors.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// connect makes a server; nothing is dialled yet.
func connect(o *goredis.UniversalOptions, patience time.Duration) *server {
	ctx, cancel := context.WithCancel(context.Background())
	d := &dialer{ctx: ctx, tls: o.TLSConfig, patience: patience, open: make(map[*conn]struct{})}
	goredis.SetLogger(quiet{})
	o.Dialer, o.TLSConfig = d.dial, nil // the dialer does TLS
	o.Protocol = 2                      // nothing here needs pushes, which cost a look at each command
	// Contexts bound every command; these are for what go-redis does by itself.
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = patience, patience, patience, patience
	o.MaxRetries, o.DialerRetries = -1, 1
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	client := goredis.NewUniversalClient(o)
	if cluster, ok := client.(*goredis.ClusterClient); ok {
		cluster.OnNewNode(func(node *goredis.Client) { node.AddHook(failLate{}) })
	} else {
		client.AddHook(failLate{})
	}
	return &server{redis: client, dialer: d, patience: patience, cancel: cancel}
}

// close ends all that is under way.
func (s *server) close() {
	s.cancel()
	s.dialer.close()
	_ = s.redis.Close() // its errors are those of connections that are closed
}

// guard runs f and makes an error of a panic: go-redis panics at some replies
// that no Redis would give.
func guard(ctx context.Context, redis Server, f Commands) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("nonsense came from the server: %v", r)
		}
	}()
	return f(ctx, redis)
}

package redis

import (
	"context"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Server is what sends commands: a server, or a cluster of them. It has the commands that are
// used and no others, for an interface of go-redis's own, which has all, has the linker keep
// what each of them gives: docs/decisions/0027-what-the-binary-carries.md.
type Server interface {
	goredis.Scripter
	Get(ctx context.Context, key string) *goredis.StringCmd
	GetRange(ctx context.Context, key string, start, end int64) *goredis.StringCmd
	Set(ctx context.Context, key string, value any, expiration time.Duration) *goredis.StatusCmd
	SetXX(ctx context.Context, key string, value any, expiration time.Duration) *goredis.BoolCmd
	Unlink(ctx context.Context, keys ...string) *goredis.IntCmd
	Scan(ctx context.Context, cursor uint64, match string, count int64) *goredis.ScanCmd
	Publish(ctx context.Context, channel string, message any) *goredis.IntCmd
	Subscribe(ctx context.Context, channels ...string) *goredis.PubSub

	AddHook(hook goredis.Hook)
	PoolStats() *goredis.PoolStats
	Close() error
}

// Pipeline gives what sends several commands to a Server at once. It is no method of it, for
// what that gives has all commands.
func Pipeline(s Server) goredis.Pipeliner {
	if cluster, ok := s.(*goredis.ClusterClient); ok {
		return cluster.Pipeline()
	}
	return s.(*goredis.Client).Pipeline()
}

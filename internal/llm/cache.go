package llm

import (
	"math"
	"time"
)

// CachePolicy is what a client asks of caches on its request's way (RFC 9111,
// section 5.2.1). The zero policy asks for nothing.
type CachePolicy struct {
	NoStore      bool // caches take no part: nothing is looked up, joined or kept
	NoCache      bool // no stored reply; the new one is kept
	OnlyIfCached bool // a stored reply or none: 504 when there is none

	// MaxAge is the oldest stored reply that will do, where HasMaxAge is set.
	HasMaxAge bool
	MaxAge    time.Duration

	// MaxStale is how long ago a stored reply may have expired, AnyStale for any
	// time. MinFresh is how much longer it has to stay fresh.
	MaxStale, MinFresh time.Duration
}

// AnyStale is the MaxStale of a client that takes a reply however stale.
const AnyStale time.Duration = math.MaxInt64

// CacheStatus is what a cache had to do with a reply. Zero says nothing.
type CacheStatus uint8

const (
	CacheHit       CacheStatus = iota + 1 // a stored reply that is fresh
	CacheMiss                             // from the upstream
	CacheStale                            // a stored reply that has expired
	CacheCoalesced                        // of another, equal request that was under way
	CacheBypass                           // from the upstream, because the cache had to stand aside
)

// String gives the status as it stands in the X-Cache header, "" for zero.
func (s CacheStatus) String() string {
	switch s {
	case CacheHit:
		return "HIT"
	case CacheMiss:
		return "MISS"
	case CacheStale:
		return "STALE"
	case CacheCoalesced:
		return "COALESCED"
	case CacheBypass:
		return "BYPASS"
	default:
		return ""
	}
}

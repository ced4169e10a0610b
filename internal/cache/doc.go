// Package cache answers requests from memory: a stage of the chain that keeps
// the replies of completed calls, lets equal calls under way share one, and
// has what is wanted often ready before it is asked for.
//
// It promises that two different requests never share a reply: the key is a
// SHA-256 digest of the tenant, the operation, the group of upstreams that may
// answer and the whole canonical request, but for what neither changes the
// answer nor stands in it. Only complete replies of status 2xx are kept, byte for byte. Nothing
// that fails here fails a request: a second level that is down, a disk that is
// full or an entry that is damaged is as good as no entry.
package cache

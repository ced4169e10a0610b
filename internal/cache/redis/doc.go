// Package redis keeps replies in a Redis that several machines share: the
// cache's second level.
//
// Every failure is as good as no entry; what they cost a request is bounded by
// internal/redis, which reaches the server. What is found is bounded in size and
// otherwise untrusted.
//
// A reply is the string <prefix>1:<model>:<key>, with the first 8 bytes of the
// SHA-256 of the model's name and the key in hexadecimal, so that the replies of
// a model are found by their names. What the upstream knows by an id has a second
// string that leads to it, as of the model "". The 1 is the version of all this.
// <prefix>1:epoch counts the purges and <prefix>1:purge is the channel that
// tells of them.
//
// A user of the server needs the commands GETRANGE, PTTL, SET, GET, INCR, SETNX,
// SCAN, UNLINK, PUBLISH and SUBSCRIBE, SELECT for another database than 0, and
// CLUSTER SLOTS in a cluster, for keys and channels that begin with the prefix.
package redis

package redis

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// errURL stands for everything that package url finds, since its errors quote
// what they are about.
var errURL = errors.New("is not a URL such as redis://user:password@host:6379/0 (a password's special characters have to be percent-encoded)")

// place is what a URL says.
type place struct {
	*goredis.UniversalOptions
	id identity
}

// identity tells servers apart: a digest of the URL and of the files that it
// names, which may be renewed under their names.
type identity [sha256.Size]byte

// parse reads a URL. Its errors quote no part of it but file names: a password
// that was not encoded may be anywhere.
func parse(raw string) (*place, error) {
	scheme, rest, _ := strings.Cut(raw, "://")
	secure, sentinel, unix := strings.HasPrefix(scheme, "rediss"), strings.HasSuffix(scheme, "+sentinel"), scheme == "unix"
	switch scheme {
	case "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel":
	default:
		return nil, errors.New("must begin with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://")
	}
	user, hosts, tail := split(rest)
	u, err := url.Parse("redis://" + user + "host" + tail)
	if err != nil || u.Fragment != "" || u.Opaque != "" {
		return nil, errURL
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errURL
	}
	q := query{values: values, sum: sha256.New()}
	q.sum.Write([]byte(raw))

	o := &goredis.UniversalOptions{Username: u.User.Username()}
	o.Password, _ = u.User.Password()
	db, path := "", strings.Split(strings.Trim(u.Path, "/"), "/")
	switch {
	case unix:
		if hosts != "" || len(u.Path) < 2 {
			return nil, errors.New("unix:// must be followed by the path of a socket, such as unix:///run/redis.sock")
		}
		o.Addrs, db = []string{u.Path}, q.text("db")
		path = nil
	case sentinel:
		o.MasterName, path = path[0], path[1:]
		o.SentinelUsername, o.SentinelPassword = q.text("sentinel_username"), q.text("sentinel_password")
		if o.MasterName == "" {
			return nil, errors.New("must name the master after the sentinels, as in redis+sentinel://host:26379/mymaster")
		}
	default:
		o.IsClusterMode = q.truth("cluster") || strings.Contains(hosts, ",")
	}
	if len(path) > 0 {
		db, path = path[0], path[1:]
	}
	if db != "" {
		o.DB, err = strconv.Atoi(db)
	}
	switch {
	case err != nil || o.DB < 0 || len(path) > 0:
		return nil, errors.New("must end in the number of a database, or nothing")
	case o.IsClusterMode && o.DB != 0:
		return nil, errors.New("must not name a database: a cluster has but one")
	}
	if !unix {
		if o.Addrs, err = addresses(hosts, sentinel); err != nil {
			return nil, err
		}
	}
	if secure {
		if o.TLSConfig, err = q.tls(); err != nil {
			return nil, err
		}
	}
	return &place{o, identity(q.sum.Sum(nil))}, q.rest()
}

// split cuts what follows a scheme into user ("user:password@"), hosts and the
// path with what follows. url.Parse takes one host only.
func split(rest string) (user, hosts, tail string) {
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest, tail = rest[:i], rest[i:]
	}
	at := strings.LastIndexByte(rest, '@') + 1
	return rest[:at], rest[at:], tail
}

// addresses returns the hosts of a list, each with its port.
func addresses(hosts string, sentinel bool) ([]string, error) {
	port := "6379"
	if sentinel {
		port = "26379"
	}
	var out []string
	for host := range strings.SplitSeq(hosts, ",") {
		u, err := url.Parse("redis://" + host)
		if err != nil || u.Hostname() == "" || u.User != nil {
			return nil, errURL
		}
		out = append(out, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)))
	}
	return out, nil
}

// query takes parameters out of a URL's query.
type query struct {
	values url.Values
	err    error
	sum    hash.Hash // of what was read
}

func (q *query) text(name string) string {
	v := q.values.Get(name)
	q.values.Del(name)
	return v
}

func (q *query) truth(name string) bool {
	v := q.text(name)
	if v == "" {
		return false
	}
	b, err := strconv.ParseBool(v)
	if err != nil && q.err == nil {
		q.err = fmt.Errorf("%s: is neither true nor false", name)
	}
	return b
}

// file reads a file.
func (q *query) file(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err == nil {
		_, _ = fmt.Fprintf(q.sum, "\x00%d:%s", len(b), b)
	}
	return b, err
}

// rest returns the faults: what was wrong, and what nobody took.
func (q *query) rest() error {
	if q.err == nil && len(q.values) > 0 {
		q.err = errors.New("has a parameter that does not belong to its kind: cluster for redis and rediss; ca_file, cert_file, key_file, " +
			"server_name and skip_verify for TLS; db for unix; sentinel_username and sentinel_password for sentinels")
	}
	return q.err
}

func (q *query) tls() (*tls.Config, error) {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: q.text("server_name"),
		// What the operator asked for, by name.
		InsecureSkipVerify: q.truth("skip_verify"),
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if file := q.text("ca_file"); file != "" {
		pem, err := q.file(file)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: no certificate in %s", file)
		}
	}
	if cert, key := q.text("cert_file"), q.text("key_file"); cert != "" || key != "" {
		pair, err := q.pair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("cert_file, key_file: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

func (q *query) pair(cert, key string) (tls.Certificate, error) {
	public, err := q.file(cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	private, err := q.file(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(public, private)
}

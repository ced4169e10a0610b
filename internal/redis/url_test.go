package redis

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestURL(t *testing.T) {
	for raw, want := range map[string]string{
		"redis://h":                   "[h:6379] 0",
		"redis://h:1/2":               "[h:1] 2",
		"redis://[::1]:1":             "[[::1]:1] 0",
		"redis://u:p%40%2F@h/":        "[h:6379] 0 user u/p@/",
		"redis://:p@h":                "[h:6379] 0 user /p",
		"redis://h?cluster=true":      "[h:6379] 0 cluster",
		"redis://u:p@a,b:1,c":         "[a:6379 b:1 c:6379] 0 user u/p cluster",
		"rediss://h?skip_verify=true": "[h:6379] 0 tls insecure",
		"rediss://h?server_name=n":    "[h:6379] 0 tls n",
		"unix:///run/s":               "[/run/s] 0",
		"unix://u:p@/run/s?db=3":      "[/run/s] 3 user u/p",
		"redis+sentinel://h/m":        "[h:26379] 0 master m",
		"redis+sentinel://u:p@a:1,b/m/4?sentinel_username=v&sentinel_password=q": "[a:1 b:26379] 4 user u/p master m of v/q",
		"rediss+sentinel://h/m?skip_verify=1":                                    "[h:26379] 0 master m tls insecure",
	} {
		o, err := parse(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		got := fmt.Sprint(o.Addrs, " ", o.DB)
		if o.Username != "" || o.Password != "" {
			got += " user " + o.Username + "/" + o.Password
		}
		if o.IsClusterMode {
			got += " cluster"
		}
		if o.MasterName != "" {
			got += " master " + o.MasterName
		}
		if o.SentinelPassword != "" {
			got += " of " + o.SentinelUsername + "/" + o.SentinelPassword
		}
		if o.TLSConfig != nil {
			got = strings.TrimSpace(got + " tls " + o.TLSConfig.ServerName)
			if o.TLSConfig.InsecureSkipVerify {
				got += " insecure"
			}
		}
		is(t, raw, got, want)
	}
}

// No fault shows anything of a URL, wherever the secret is in it.
func TestFaults(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		"s3cret":                             "must begin with",
		"s3cret://h":                         "must begin with",
		"http://s3cret@h":                    "must begin with",
		"redis://":                           "is not a URL",
		"redis://u:s3cret@":                  "is not a URL",
		"redis://u:s3cret":                   "is not a URL",
		"redis://u:s3c/ret@h":                "number of a database",
		"redis://u:s3c?ret@h":                "is not a URL",
		"redis://u:s3c#ret@h":                "is not a URL",
		"redis://u:s3c%ret@h":                "is not a URL",
		"redis://u:s3c ret@h":                "is not a URL",
		"redis://u:s3cret@h,":                "is not a URL",
		"redis://h/s3cret":                   "number of a database",
		"redis://h/-1":                       "number of a database",
		"redis://h/1/2":                      "number of a database",
		"redis://a,b/1":                      "a cluster has but one",
		"redis://h?s3cret=1":                 "has a parameter",
		"redis://h?cluster=s3cret":           "neither true nor false",
		"redis://h?a=1;s3cret":               "is not a URL",
		"redis://h?ca_file=x":                "has a parameter",
		"redis+sentinel://h?cluster=true":    "must name the master",
		"redis+sentinel://h/m?cluster=true":  "has a parameter",
		"redis+sentinel://h/m/s3cret":        "number of a database",
		"unix://h/run/s":                     "path of a socket",
		"unix://":                            "path of a socket",
		"rediss://s3cret@h?ca_file=/none":    "ca_file: open /none",
		"rediss://s3cret@h?cert_file=/none":  "cert_file, key_file: open /none",
		"rediss://s3cret@h?ca_file=" + empty: "no certificate in",
		"rediss://h?skip_verify=s3cret":      "skip_verify: is neither",
	} {
		err := Check(raw)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", raw, err, want)
			continue
		}
		for _, part := range []string{"s3c", "ret@"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: the fault shows it: %v", raw, err)
			}
		}
		if _, made := new(Servers).Client(raw, Options{}); made == nil || made.Error() != err.Error() {
			t.Errorf("%s: Client says %v", raw, made)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, seed := range []string{"redis://u:p@h:1/0?cluster=1", "rediss://a,b?skip_verify=1", "unix:///s?db=1", "redis+sentinel://h/m/1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if strings.Contains(raw, "_file") {
			return // reads files
		}
		o, err := parse(raw)
		if err == nil && len(o.Addrs) == 0 {
			t.Errorf("%q: no address", raw)
		}
	})
}

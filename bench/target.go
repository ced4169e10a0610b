package main

import (
	"cmp"
	"fmt"
	"strings"

	"sluice/bench/process"
)

// target is where calls go.
type target struct {
	addr   string
	path   string // of chats; chatPath when empty
	fields string // that a server asks for in a head, each with its end of line
}

// head is that of a POST request with so long a body.
func (t target) head(size int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n", cmp.Or(t.path, chatPath), t.addr, t.allFields(), size)
}

// allFields are its own and the key that Sluice asks for, unless they hold one.
func (t target) allFields() string {
	for line := range strings.Lines(t.fields) {
		if name, _, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Authorization") {
			return t.fields
		}
	}
	return "Authorization: Bearer " + process.APIKey + "\r\n" + t.fields
}

// chatRequest is a chat request as it is written.
func chatRequest(t target, body string) []byte { return []byte(t.head(len(body)) + body) }

package main

import (
	"bytes"
	"errors"
)

const (
	maxMockHead    = 64 << 10
	maxMockRequest = 1 << 20
)

var (
	errTooLong = errors.New("the request is too long")
	errNoHTTP  = errors.New("this is no request in HTTP/1.1")
)

// request is one that was received whole. Its parts lie in the buffer that it was
// read from.
type request struct {
	method, target, body []byte
	last                 bool // the client sends none after it
}

// takeRequest takes a request from the front of what was received and gives its
// length: 0 while there is more to come. Chunks of a body are joined in place once
// all of them are there; the length is that of what was received.
func takeRequest(b []byte) (r request, length int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 || end > maxMockHead {
		if len(b) > maxMockHead {
			err = errTooLong
		}
		return request{}, 0, err
	}
	line, fields, _ := bytes.Cut(b[:end], []byte("\r\n"))
	r.method, line, _ = bytes.Cut(line, []byte(" "))
	target, version, _ := bytes.Cut(line, []byte(" "))
	if r.target = target; len(r.method) == 0 || len(target) == 0 || string(version) != "HTTP/1.1" {
		return request{}, 0, errNoHTTP
	}
	size, chunked := 0, false
	for len(fields) > 0 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch len(name) { // few names are worth a closer look
		case len("content-length"):
			if named(name, "content-length") {
				if size = number(bytes.TrimSpace(value), 10); size < 0 {
					return request{}, 0, errNoHTTP
				}
			}
		case len("transfer-encoding"):
			chunked = chunked || named(name, "transfer-encoding")
		case len("connection"):
			r.last = r.last || named(name, "connection") && named(bytes.TrimSpace(value), "close")
		}
	}
	rest := b[end+4:]
	switch {
	case chunked:
		size, err = chunkedSize(rest)
	case size > maxMockRequest:
		err = errTooLong
	case size > len(rest):
		return request{}, 0, nil
	}
	if err != nil || chunked && size == 0 {
		return request{}, 0, err
	}
	if r.body = rest[:size]; chunked {
		r.body = joinChunks(r.body)
	}
	return r, end + 4 + size, nil
}

// chunkedSize is how long a body in chunks is, its end and trailers included: 0
// while there is more to come.
func chunkedSize(b []byte) (int, error) {
	for at := 0; ; {
		size, skip := chunkAt(b[at:])
		switch {
		case size < 0:
			return 0, errNoHTTP
		case size > maxMockRequest || len(b) > 2*maxMockRequest:
			return 0, errTooLong
		case skip == 0:
			return 0, nil
		case size > 0:
			if at += skip + size + 2; at > len(b) {
				return 0, nil
			}
			if string(b[at-2:at]) != "\r\n" {
				return 0, errNoHTTP
			}
			continue
		}
		end := bytes.Index(b[at+skip-2:], []byte("\r\n\r\n")) // the last chunk's line may be all
		if end < 0 {
			return 0, nil
		}
		return at + skip - 2 + end + 4, nil
	}
}

// joinChunks moves the chunks of a whole body together.
func joinChunks(b []byte) []byte {
	body := b[:0]
	for {
		size, skip := chunkAt(b)
		if size == 0 {
			return body
		}
		body = append(body, b[skip:skip+size]...) // never beyond what was read
		b = b[skip+size+2:]
	}
}

// chunkAt reads the line that begins a chunk: how long the chunk is, below 0 where
// there is none, and how long the line, 0 while there is more to come.
func chunkAt(b []byte) (size, skip int) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		return 0, 0
	}
	digits, _, _ := bytes.Cut(b[:end], []byte(";"))
	return number(bytes.TrimSpace(digits), 16), end + 2
}

// named compares without regard to case.
func named(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// number reads digits: -1 where there are none, too many or others.
func number(b []byte, base int) int {
	if len(b) == 0 || len(b) > 8 {
		return -1
	}
	n := 0
	for _, c := range b {
		digit := 99
		switch {
		case '0' <= c && c <= '9':
			digit = int(c - '0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			digit = int(c|0x20-'a') + 10
		}
		if digit >= base {
			return -1
		}
		n = n*base + digit
	}
	return n
}

package main

import (
	"fmt"
	"net/http"
	"time"
)

// mockReply is a reply as it is written, made once for all who get it.
type mockReply struct {
	pieces [][]byte      // each written by itself
	id     []byte        // digits in the first that are set anew when it is written; nil for none
	delay  time.Duration // before the first
	pause  time.Duration // between two
}

// replies are all that the lean mock says.
type replies struct {
	short, middling, long, soon, wait *mockReply
	fast, slow, soonFast              *mockReply
	models, notFound, refusal         *mockReply
}

func newReplies(date time.Time) replies {
	soonFast := streamReply(events, 0, date)
	soonFast.delay = soonTime
	completion := func(size int, delay time.Duration) *mockReply {
		r := wholeReply("200 OK", reply(size), date)
		r.id, r.delay = digitsOf(r.pieces[0]), delay
		return r
	}
	return replies{
		short: completion(1000, 0), soon: completion(1000, soonTime), wait: completion(1000, thinkTime),
		middling: completion(2000, 0), long: completion(16_000, 0),
		fast: streamReply(events, 0, date), slow: streamReply(slowEvents, slowPause, date), soonFast: soonFast,
		models:   wholeReply("200 OK", modelList(), date),
		notFound: wholeReply("404 Not Found", []byte(`{"error":{"message":"There is no such path."}}`), date),
		refusal:  wholeReply("400 Bad Request", []byte(`{"error":{"message":"This is no request that is read here."}}`), date),
	}
}

func wholeReply(status string, text []byte, date time.Time) *mockReply {
	return &mockReply{pieces: [][]byte{append(appendHead(nil, status, len(text), date), text...)}}
}

func appendHead(b []byte, status string, size int, date time.Time) []byte {
	return fmt.Appendf(b, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nDate: %s\r\n\r\n", status, size, date.UTC().Format(http.TimeFormat))
}

// streamReply is a stream of events, each a chunk; the first goes with the head.
func streamReply(n int, pause time.Duration, date time.Time) *mockReply {
	r := &mockReply{pause: pause}
	piece := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nDate: %s\r\n\r\n", date.UTC().Format(http.TimeFormat))
	for _, event := range chunks(n) {
		r.pieces = append(r.pieces, fmt.Appendf(piece, "%x\r\n%s\r\n", len(event), event))
		piece = nil
	}
	r.pieces = append(r.pieces, []byte("0\r\n\r\n"))
	return r
}

// chat is the reply to a chat.
func (r *replies) chat(body []byte) *mockReply {
	model, streamed := asked(body)
	if streamed {
		switch string(model) {
		case modelSlow:
			return r.slow
		case modelSoon:
			return r.soonFast
		}
		return r.fast
	}
	switch string(model) {
	case model2KB:
		return r.middling
	case model16KB:
		return r.long
	case modelSoon:
		return r.soon
	case modelWait:
		return r.wait
	}
	return r.short
}

package soak

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// question is what a conversation asks for. It stands in its last message, which every
// dialect carries as it is, so that whoever has the conversation knows what the answer must
// be: the services that give it, and the client that gets it.
type question struct {
	id     string // another one for each answer
	pieces int    // of the answer
	pace   time.Duration
	tool   bool   // the answer is the argument of a call
	whole  bool   // the answer depends on all that was said before, which nothing may shorten then
	fault  string // what goes wrong on purpose: see faults.go
	after  int    // pieces before it does
}

// opening begins the text that holds a question.
const opening = "ask "

func (q question) String() string {
	s := opening + "id=" + q.id + " pieces=" + strconv.Itoa(q.pieces) + " pace=" + q.pace.String()
	if q.tool {
		s += " tool=1"
	}
	if q.whole {
		s += " whole=1"
	}
	if q.fault != "" {
		s += " fault=" + q.fault + " after=" + strconv.Itoa(q.after)
	}
	return s + "\n"
}

// readQuestion reads the first line of a text.
func readQuestion(text string) (q question, err error) {
	line, _, ok := strings.Cut(text, "\n")
	rest, begins := strings.CutPrefix(line, opening)
	if !ok || !begins {
		return q, fmt.Errorf("there is no question in %.80q", text)
	}
	for _, f := range strings.Fields(rest) {
		name, value, _ := strings.Cut(f, "=")
		switch name {
		case "id":
			q.id = value
		case "pieces":
			q.pieces, err = strconv.Atoi(value)
		case "pace":
			q.pace, err = time.ParseDuration(value)
		case "tool":
			q.tool = true
		case "whole":
			q.whole = true
		case "fault":
			q.fault = value
		case "after":
			q.after, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("%q is no part of a question", name)
		}
		if err != nil {
			return q, err
		}
	}
	return q, nil
}

// talk is a conversation as far as the answer depends on it.
type talk struct {
	system, first, last string
	all                 [sha256.Size]byte // of the messages of both sides, in order
}

// hear takes a message in.
func (t *talk) hear(role, text string) {
	switch role {
	case "system", "developer":
		t.system = text
	case "assistant", "model":
		t.all = sha256.Sum256([]byte(string(t.all[:]) + "assistant\x00" + text))
	case "user":
		if t.first == "" {
			t.first = text
		}
		t.last = text
		t.all = sha256.Sum256([]byte(string(t.all[:]) + "user\x00" + text))
	}
}

// answer is what must be said to a conversation.
type answer struct {
	question
	texts       []string // pieces in order
	prompt, out int      // tokens
}

// answerTo is the answer to a conversation: of its last prompt, its first message of the
// user and its last one a byte more or less would make it another, and where it is asked for
// of every message.
func answerTo(t talk) (answer, error) {
	q, err := readQuestion(t.last)
	a := answer{question: q, prompt: 10 + len(t.last)%977, out: q.pieces}
	said := t.system + "\x00" + t.first + "\x00" + t.last
	if q.whole {
		said += string(t.all[:])
	}
	key := sha256.Sum256([]byte(said))
	for i := range q.pieces {
		a.texts = append(a.texts, piece(key, i))
	}
	return a, err
}

// piece is one of an answer: its number, what tells it from those of other answers, and
// what has to be escaped, or takes several bytes.
func piece(key [sha256.Size]byte, i int) string {
	h := sha256.Sum256(binary.BigEndian.AppendUint32(key[:], uint32(i)))
	odd := [...]string{" ", "\n", " \"q\" ", " é ", " 😀", "<&>", ` \u0041\ `, "\t", " 日本", "\u2028"}
	s := fmt.Sprintf("w%d.%x", i, h[:3])
	if i > 0 {
		s = odd[int(h[3])%len(odd)] + s
	}
	return s
}

func (a answer) text() string { return strings.Join(a.texts, "") }

// What is said to a text without a conversation.
const vectorSize = 8

// vectorOf is the vector of a text.
func vectorOf(text string) (v [vectorSize]float32) {
	h := sha256.Sum256([]byte(text))
	for i := range v {
		v[i] = float32(int(h[i])-128) / 256
	}
	return v
}

// littleEndian is a vector as bytes.
func littleEndian(v [vectorSize]float32) (b []byte) {
	for _, f := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

// completionOf is how a prompt goes on. All are as long.
func completionOf(prompt string) string {
	h := sha256.Sum256([]byte("completion\x00" + prompt))
	return fmt.Sprintf(" so %x", h[:12])
}

// tokensOf is how many tokens a text has: as many as bytes of JSON, so that there is one way
// only to divide those of several.
func tokensOf(text string) int { return len(text) + len(`""`) }

// completionTokens is how many tokens each of these has.
const completionTokens = 5

// digestOf is what an upload is answered with.
func digestOf(file []byte) string {
	h := sha256.Sum256(file)
	return fmt.Sprintf("heard %x", h[:])
}

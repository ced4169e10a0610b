package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"google.golang.org/protobuf/proto"

	"sluice/bench/shapes"
)

// shape is a message whose cost is measured.
type shape struct {
	name    string
	message proto.Message
}

// messageShapes are what gateways see: small records, chats, long texts,
// trees, embeddings. They are the same in every run.
func messageShapes() []shape {
	r := rand.New(rand.NewPCG(1, 2))
	return []shape{
		{"flat", flat()},
		{"chat", chat(0)},
		{"text", &shapes.Text{Id: "doc-7f3a", Text: prose(64_000)}},
		{"tree", tree(r, 5)},
		{"floats", &shapes.Vector{Model: "embed-large", Values: floats(r, 15_300)}},
	}
}

func flat() *shapes.Flat {
	return &shapes.Flat{
		Id: "req_8Zk2LmQ9", Count: 42, CreatedAt: 1_764_082_800, Score: 0.8715, Done: true,
		Kind: shapes.Kind_KIND_SECOND, Owner: "team-search-eu@example.com", Token: []byte("\x00\x9f8s\xe1\xffbcA0123456789"),
	}
}

// chat is a request of 2 kB, another one for each number below a million.
func chat(n int) *shapes.Chat {
	says := func(role shapes.Chat_Role, text string) *shapes.Chat_Message {
		return &shapes.Chat_Message{Role: role, Content: []*shapes.Chat_Part{{Kind: &shapes.Chat_Part_Text{Text: text}}}}
	}
	return &shapes.Chat{
		Model: "model-large-2026",
		Messages: []*shapes.Chat_Message{
			says(shapes.Chat_ROLE_SYSTEM, prose(300)),
			says(shapes.Chat_ROLE_USER, fmt.Sprintf("Question %06d. %s", n, prose(200))),
			says(shapes.Chat_ROLE_ASSISTANT, prose(870)),
			says(shapes.Chat_ROLE_USER, prose(250)),
			{Role: shapes.Chat_ROLE_USER, Name: "ana", Content: []*shapes.Chat_Part{{Kind: &shapes.Chat_Part_ImageUrl{ImageUrl: "https://images.example.com/2026/11/sluice.png"}}}},
		},
		Temperature: proto.Float32(0.7),
		MaxTokens:   proto.Int32(1024),
		Tools: []*shapes.Chat_Tool{{
			Name: "get_weather", Description: "Gives the weather at a place.", Strict: true,
			Parameters: `{"type":"object","properties":{"place":{"type":"string"},"unit":{"type":"string","enum":["celsius","fahrenheit"]}},"required":["place"]}`,
		}},
		Metadata: map[string]string{"session": "4c1d9f20", "team": "search"},
		Usage:    &shapes.Chat_Usage{PromptTokens: 412, CompletionTokens: 96},
	}
}

// prose is a text of so many bytes with what texts have to be escaped for, and
// with letters of more than one byte.
func prose(size int) string {
	const paragraph = "A sluice lets water through, as much as its keeper wants. “Open it,” said the miller, and the wheel began to turn. " +
		"Its name comes from Latin \"exclusa\", what is shut out; in French it is an écluse.\n\n"
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(paragraph)
	}
	return strings.ToValidUTF8(b.String()[:size], "")
}

// tree is four subtrees below each other, levels deep.
func tree(r *rand.Rand, levels int) *shapes.Tree {
	t := &shapes.Tree{
		Label: fmt.Sprintf("node %d", r.IntN(1e6)), Id: r.Int64N(1e12), Weight: float64(r.IntN(1e4)) / 100,
		Kind: shapes.Kind(1 + r.IntN(2)), Tags: []string{"stone", "oak"}[:1+r.IntN(2)],
	}
	if levels > 0 {
		for range 4 {
			t.Children = append(t.Children, tree(r, levels-1))
		}
	}
	return t
}

// floats is an embedding: its elements are normal and its length is 1.
func floats(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64() / math.Sqrt(float64(n)))
	}
	return v
}

package ratelimit

import (
	"bytes"
	"strings"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

const (
	// bytesPerToken is about what a token of text takes, JSON around it included.
	bytesPerToken = 4
	// tokensPerFile is about what an image takes that stands in a request.
	tokensPerFile = 1000
	// maxChoices is how many replies to one request are believed to be wanted.
	maxChoices = 128
	// deepest is how deeply bodies nest that are looked into. Those that come here
	// were checked.
	deepest = 10_000
)

// estimate is about how many tokens a request takes: what goes in, and what may come
// out of what the request says of that, most at most. Both are 0 where there is no
// telling, and the reply will have to say.
func estimate(req *llm.Request, most int64) (in, out int64) {
	if req.Method != "POST" || len(req.Body) == 0 {
		return 0, 0
	}
	in = inputOf(req.Body)
	if req.Op == llm.Embedding || most == 0 {
		return in, 0
	}
	choices := int64(1)
	wanted(req.Body, most, &out, &choices)
	return in, min(out*choices, most)
}

// wanted reads how long a reply may be, in tokens, and how many are wanted. What is no JSON
// says nothing.
func wanted(body []byte, most int64, out, choices *int64) {
	_ = jsonscan.Members(body, deepest, func(key []byte, value llm.Span) error {
		v := body[value.Start:value.End]
		switch string(key) {
		case "max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens":
			*out = max(*out, count(v, most))
		case "n", "candidateCount", "candidate_count":
			*choices = max(count(v, maxChoices), 1)
		case "generationConfig", "generation_config": // of generateContent
			wanted(v, most, out, choices)
		}
		return nil
	})
}

// inputOf is about how many tokens a body has, of which files in data URLs are no
// text.
func inputOf(body []byte) (n int64) {
	const mark = ";base64,"
	text, files := len(body), 0
	for rest := body; ; {
		at := bytes.Index(rest, []byte(mark))
		if at < 0 {
			break
		}
		rest = rest[at+len(mark):]
		size := bytes.IndexByte(rest, '"')
		if size < 0 {
			break
		}
		if size > tokensPerFile*bytesPerToken { // else it is counted as what it is
			text, files = text-size, files+1
		}
		rest = rest[size:]
	}
	return max(int64(text/bytesPerToken+files*tokensPerFile), 1)
}

// count reads a whole number from 0 to most; one that is more is most, and what is no
// such number 0.
func count(raw []byte, most int64) (n int64) {
	for _, c := range raw {
		if c < '0' || c > '9' {
			return 0
		}
		n = min(n*10+int64(c-'0'), most)
	}
	return n
}

// generates reports whether replies to a request are text that a model writes.
func generates(op llm.Operation) bool {
	return op == llm.Chat || op == llm.Completion || op == llm.Response || op == llm.Messages || op == llm.GenerateContent
}

// speaksJSON reports whether a reply of a type may say how many tokens it took.
func speaksJSON(contentType string) bool {
	return contentType == "" || strings.Contains(strings.ToLower(contentType), "json")
}

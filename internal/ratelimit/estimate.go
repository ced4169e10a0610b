package ratelimit

import (
	"bytes"
	"strings"

	"sluice/internal/dialect/known"
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
	if known.EmbedderOf(req.Op) != nil || most == 0 {
		return in, 0
	}
	choices := int64(1)
	var config llm.Span // of generateContent
	wanted(req.Body, most, &out, &choices, &config)
	if config.End > 0 {
		wanted(req.Body[config.Start:config.End], most, &out, &choices, nil)
	}
	return in, min(out*choices, most)
}

// wanted reads how long a reply may be, in tokens, how many are wanted, and where else that
// may stand. What is no JSON says nothing.
func wanted(body []byte, most int64, out, choices *int64, config *llm.Span) {
	_ = jsonscan.Members(body, deepest, func(key []byte, value llm.Span) error {
		v := body[value.Start:value.End]
		switch string(key) {
		case "max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens":
			*out = max(*out, count(v, most))
		case "n", "candidateCount", "candidate_count":
			*choices = max(count(v, maxChoices), 1)
		case "generationConfig", "generation_config":
			if config != nil {
				*config = value
			}
		}
		return nil
	})
}

// inputOf is about how many tokens a body has, of which files are no text.
func inputOf(body []byte) int64 {
	const large = tokensPerFile * bytesPerToken // one that is less is counted as what it is
	text, files := len(body), 0
	// What stands between two quotes is a string, or what is between two of them.
	for at := bytes.IndexByte(body, '"') + 1; at > 0; {
		size := bytes.IndexByte(body[at:], '"')
		if size > large {
			if n := fileIn(body[:at], body[at:at+size]); n > large {
				text, files = text-n, files+1
			}
		}
		if size < 0 {
			break
		}
		at += size + 1
	}
	return max(int64(text/bytesPerToken+files*tokensPerFile), 1)
}

// looked is how much of a string tells what it is, in bytes.
const looked = 256

// fileIn gives how many bytes of a string, which stands behind before, are a file in base64:
// what comes after the head of a data URL, or all of a member that has files in one of the
// dialects. Elsewhere base64 is a text to a model like any other.
func fileIn(before, s []byte) int {
	const mark = ";base64,"
	if bytes.HasPrefix(s, []byte("data:")) {
		if at := bytes.Index(s[:min(len(s), looked)], []byte(mark)); at >= 0 {
			s = s[at+len(mark):]
		}
	} else {
		switch string(memberName(before)) {
		case "data", "file_data", "b64_json", "result": // of Responses: an image that was made
		default:
			return 0
		}
	}
	if !isBase64(s) {
		return 0
	}
	return len(s)
}

// memberName gives the name of the member whose value is a string that begins after
// before, without its quotes; nil for none.
func memberName(before []byte) []byte {
	const space = " \t\r\n"
	rest, ok := bytes.CutSuffix(bytes.TrimRight(before[:len(before)-1], space), []byte(":"))
	if !ok {
		return nil
	}
	if rest, ok = bytes.CutSuffix(bytes.TrimRight(rest, space), []byte{'"'}); !ok {
		return nil
	}
	return rest[bytes.LastIndexByte(rest, '"')+1:]
}

// isBase64 reports whether a long string looks like base64, spelt as JSON may have it. Texts
// have blanks, or what is no ASCII soon.
func isBase64(s []byte) bool {
	for _, c := range s[:min(len(s), looked)] {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '+', c == '/', c == '-', c == '_', c == '\\':
		default:
			return false
		}
	}
	return bytes.IndexByte(s, ' ') < 0
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

// speaksJSON reports whether a reply of a type may say how many tokens it took.
func speaksJSON(contentType string) bool {
	return contentType == "" || strings.Contains(strings.ToLower(contentType), "json")
}

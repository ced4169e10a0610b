package gemini

import (
	"iter"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// appendChatLogprobs appends a logprobsResult as Chat Completions have it: the tokens that
// were chosen, each with those that were likely in its place.
func appendChatLogprobs(dst, v []byte) []byte {
	dst = append(dst, `{"content":[`...)
	from := len(dst)
	place, stop := iter.Pull(jsonscan.ElementsOf(jsonscan.Member(v, "topCandidates")))
	defer stop()
	for one := range jsonscan.ElementsOf(jsonscan.Member(v, "chosenCandidates")) {
		if len(dst) > from {
			dst = append(dst, ',')
		}
		dst = append(appendToken(dst, one, "logprob"), `,"top_logprobs":[`...)
		inner := len(dst)
		at, _ := place()
		for likely := range jsonscan.ElementsOf(jsonscan.Member(at, "candidates")) {
			if len(dst) > inner {
				dst = append(dst, ',')
			}
			dst = append(appendToken(dst, likely, "logprob"), '}')
		}
		dst = append(dst, "]}"...)
	}
	return append(dst, "]}"...)
}

// appendToken appends an object with a token, whose last bracket is missing.
func appendToken(dst, v []byte, likelihood string) []byte {
	var token, value []byte
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "token":
			token = dialect.TextOf(v)
		case "logProbability", "logprob":
			if dialect.IsNumber(v) {
				value = v
			}
		}
	}
	if value == nil {
		value = []byte("0")
	}
	dst = append(append(append(append(dst, `{"token":`...), dialect.OrEmpty(token)...), `,"`...), likelihood...)
	dst = append(append(dst, `":`...), value...)
	if likelihood == "logprob" {
		dst = append(dst, `,"bytes":null`...)
	}
	return dst
}

// appendLogprobs appends a member with the logprobs of Chat Completions, where there are any.
func appendLogprobs(dst, v []byte) []byte {
	list := jsonscan.Member(v, "content")
	if !dialect.IsList(list) {
		return dst
	}
	dst = append(dst, `,"logprobsResult":{"chosenCandidates":[`...)
	from := len(dst)
	for one := range jsonscan.ElementsOf(list) {
		if len(dst) > from {
			dst = append(dst, ',')
		}
		dst = append(appendToken(dst, one, "logProbability"), '}')
	}
	dst = append(dst, `],"topCandidates":[`...)
	from = len(dst)
	for one := range jsonscan.ElementsOf(list) {
		if len(dst) > from {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"candidates":[`...)
		inner := len(dst)
		for likely := range jsonscan.ElementsOf(jsonscan.Member(one, "top_logprobs")) {
			if len(dst) > inner {
				dst = append(dst, ',')
			}
			dst = append(appendToken(dst, likely, "logProbability"), '}')
		}
		dst = append(dst, "]}"...)
	}
	return append(dst, "]}"...)
}

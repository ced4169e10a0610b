package e2e

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// endings is an upstream whose streams end as their prompts say: "how#id", of which
// id is the client's. It says half of what there is to say, and goes on when the
// client has that (POST /go/id), so that none of it is lost to what comes then.
type endings struct{ going sync.Map }

var asked = regexp.MustCompile(`(\w+)#(\w+)`)

func (e *endings) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id, ok := strings.CutPrefix(r.URL.Path, "/go/"); ok {
		close(e.turn(id))
		return
	}
	body, _ := io.ReadAll(r.Body)
	what := asked.FindSubmatch(body)
	if what == nil {
		http.Error(w, `{"error":{"message":"What?"}}`, http.StatusBadRequest)
		return
	}
	begin, end := chatEnding, chatEndings
	if strings.HasSuffix(r.URL.Path, "/responses") {
		begin, end = responseEnding, responseEndings
	}
	w.Header().Set("Content-Type", "text/event-stream")
	how := string(what[1])
	if how != "first" {
		io.WriteString(w, begin)
		w.(http.Flusher).Flush()
		select {
		case <-e.turn(string(what[2])):
		case <-r.Context().Done():
			return
		}
	}
	if how == "cut" {
		panic(http.ErrAbortHandler)
	}
	io.WriteString(w, end[how])
}

func (e *endings) turn(id string) chan struct{} {
	c, _ := e.going.LoadOrStore(id, make(chan struct{}))
	return c.(chan struct{})
}

func chatChunk(rest string) string {
	return `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,` + rest + "}]}\n\n"
}

func responseEvent(kind, rest string) string {
	return fmt.Sprintf("event: %s\ndata: {\"type\":%q,%s}\n\n", kind, kind, rest)
}

func response(status, rest string) string {
	return `"response":{"id":"r","object":"response","created_at":1,"model":"m","status":"` + status + `","incomplete_details":null,"parallel_tool_calls":true,"tools":[],"tool_choice":"auto",` + rest + "}"
}

const failure = `{"error":{"message":"The engine is overloaded.","type":"server_error","param":null,"code":"overloaded"}}`

var (
	chatEnding  = chatChunk(`"delta":{"role":"assistant","content":"Half"},"finish_reason":null`) + chatChunk(`"delta":{"content":" an answer"},"finish_reason":null`)
	chatEndings = map[string]string{
		"whole": chatChunk(`"delta":{},"finish_reason":"stop"`) + "data: [DONE]\n\n",
		"told":  "data: " + failure + "\n\n",
		"first": "data: " + failure + "\n\n",
	}

	message        = `{"id":"msg","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Half an answer","annotations":[]}]}`
	responseEnding = responseEvent("response.created", `"sequence_number":0,`+response("in_progress", `"error":null,"output":[],"usage":null`)) +
		responseEvent("response.output_item.added", `"sequence_number":1,"output_index":0,"item":{"id":"msg","type":"message","role":"assistant","status":"in_progress","content":[]}`) +
		responseEvent("response.content_part.added", `"sequence_number":2,"item_id":"msg","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}`) +
		responseEvent("response.output_text.delta", `"sequence_number":3,"item_id":"msg","output_index":0,"content_index":0,"delta":"Half an answer"`)
	responseFault   = `"type":"error","code":"server_error","message":"The engine is overloaded.","param":null,"sequence_number":4`
	responseEndings = map[string]string{
		"whole": responseEvent("response.output_item.done", `"sequence_number":4,"output_index":0,"item":`+message) +
			responseEvent("response.completed", `"sequence_number":5,`+response("completed", `"error":null,"output":[`+message+`],"usage":{"input_tokens":1,"output_tokens":3,"total_tokens":4,"input_tokens_details":{"cached_tokens":0},"output_tokens_details":{"reasoning_tokens":0}}`)),
		"told":   "event: error\ndata: {" + responseFault + "}\n\n",
		"first":  "event: error\ndata: {" + responseFault + "}\n\n",
		"failed": responseEvent("response.failed", `"sequence_number":4,`+response("failed", `"error":{"code":"server_error","message":"The engine is overloaded."},"output":[],"usage":null`)),
	}
)

// TestJavaScriptCuts has npm's clients read streams that break off, straight from an
// upstream and through sluice: to a program both are the same.
func TestJavaScriptCuts(t *testing.T) {
	up := serve(t, &endings{})
	in := start(t, fmt.Sprintf(upConfig, up+"/v1", false)+"route: {breaker: {failures: 1000}}\ncache: {enabled: false}\n")
	node(t, "cut.test.js", "DIRECT_URL="+up+"/v1", "GATEWAY_URL="+in.url+"/v1", "GO_URL="+up+"/go/")
}

package simulator

import (
	"net/http"
	"strings"
)

// created is the time that every object claims, in Unix seconds. It is fixed
// because replies are deterministic.
const created = 1_760_000_000

// The kinds of model.
const (
	kindChat  = "chat"
	kindEmbed = "embeddings"
)

// model is an entry of the model list.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	kind    string
}

const (
	modelChat     = "sim-chat"
	modelEcho     = "sim-echo"
	modelReasoner = "sim-reasoner"
	modelScript   = "sim-script"
	modelEmbed    = "sim-embed"
)

func models() []model {
	out := []model{{ID: modelChat, kind: kindChat}, {ID: modelEcho, kind: kindChat}, {ID: modelReasoner, kind: kindChat}, {ID: modelScript, kind: kindChat}, {ID: modelEmbed, kind: kindEmbed}}
	for i := range out {
		out[i].Object, out[i].Created, out[i].OwnedBy = "model", created, "simulator"
	}
	return out
}

func findModel(id string) (model, bool) {
	for _, m := range models() {
		if m.ID == id {
			return m, true
		}
	}
	return model{}, false
}

func listModels(*exchange) (answer, error) {
	return jsonAnswer(struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{"list", models()})
}

func getModel(c *exchange) (answer, error) {
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		return answer{}, unknownURL(c.r)
	}
	id := strings.TrimPrefix(c.r.URL.Path, "/v1/models/")
	base, faults, _ := strings.Cut(id, "?")
	f, err := parseFault(faults, "&", c.fault)
	if err != nil {
		return answer{}, err
	}
	c.fault = f
	m, ok := findModel(base)
	if !ok {
		return answer{}, unknownModel(id)
	}
	m.ID = id
	return jsonAnswer(m)
}

package gemini

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// AppendModels appends a list of models as the API has it, of one as OpenAI's has it.
func AppendModels(dst, list []byte) []byte {
	dst = append(dst, `{"models":[`...)
	from := len(dst)
	for m := range jsonscan.ElementsOf(jsonscan.Member(list, "data")) {
		if len(dst) > from {
			dst = append(dst, ',')
		}
		dst = AppendModel(dst, m)
	}
	return append(dst, "]}"...)
}

// AppendModel appends a model of such a list.
func AppendModel(dst, model []byte) []byte {
	id := dialect.String(jsonscan.Member(model, "id"))
	dst = jsonscan.AppendString(append(dst, `{"name":`...), "models/"+id)
	dst = jsonscan.AppendString(append(dst, `,"version":"","displayName":`...), id)
	return append(dst, `,"supportedGenerationMethods":["generateContent","countTokens"]}`...)
}

// AppendList appends a list of models as OpenAI's API has it, of one as this API has it,
// without those that generate no content.
func AppendList(dst, list []byte) []byte {
	dst = append(dst, `{"object":"list","data":[`...)
	from := len(dst)
	for m := range jsonscan.ElementsOf(jsonscan.Member(list, "models")) {
		name := jsonscan.Member(m, "name")
		if !dialect.IsText(name) || !generates(m) {
			continue
		}
		if len(dst) > from {
			dst = append(dst, ',')
		}
		id := bytes.TrimPrefix(name[1:len(name)-1], []byte("models/"))
		dst = append(append(append(dst, `{"id":"`...), id...), `","object":"model","created":0,"owned_by":"google"}`...)
	}
	return append(dst, "]}"...)
}

// generates reports whether a model generates content. One that does not say is believed to.
func generates(m []byte) bool {
	methods := jsonscan.Member(m, "supportedGenerationMethods")
	if methods == nil {
		return true
	}
	for one := range jsonscan.ElementsOf(methods) {
		if dialect.Is(one, Generate) {
			return true
		}
	}
	return false
}

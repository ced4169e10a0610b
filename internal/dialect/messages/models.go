package messages

import (
	"time"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// AppendModels appends a list of models as the API has it, all on one page, of one as
// OpenAI's has it.
func AppendModels(dst, list []byte) []byte {
	dst = append(dst, `{"data":[`...)
	from := len(dst)
	first, last := []byte("null"), []byte("null")
	for m := range jsonscan.ElementsOf(jsonscan.Member(list, "data")) {
		if len(dst) > from {
			dst = append(dst, ',')
		}
		dst = AppendModel(dst, m)
		if id := jsonscan.Member(m, "id"); dialect.IsText(id) {
			if last = id; string(first) == "null" {
				first = id
			}
		}
	}
	dst = append(append(dst, `],"has_more":false,"first_id":`...), first...)
	return append(append(append(dst, `,"last_id":`...), last...), '}')
}

// AppendModel appends a model of such a list.
func AppendModel(dst, model []byte) []byte {
	id := dialect.String(jsonscan.Member(model, "id"))
	name := dialect.String(jsonscan.Member(model, "display_name"))
	if name == "" {
		name = id
	}
	dst = jsonscan.AppendString(append(dst, `{"type":"model","id":`...), id)
	dst = jsonscan.AppendString(append(dst, `,"display_name":`...), name)
	created := time.Unix(dialect.Int(jsonscan.Member(model, "created")), 0).UTC()
	dst = append(created.AppendFormat(append(dst, `,"created_at":"`...), time.RFC3339), `"}`...)
	return dst
}

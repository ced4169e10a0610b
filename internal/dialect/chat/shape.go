package chat

import "sluice/internal/dialect"

// shape is where the texts of requests stand.
func shape() *dialect.Shape {
	s := dialect.Shape{Noun: "message"}
	return s.Described(dialect.OpenAIShape + `
request messages=list
message tool_calls=call
call function=call name=spoken arguments=spoken
types =said
`)
}

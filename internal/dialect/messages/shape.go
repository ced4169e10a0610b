package messages

import "sluice/internal/dialect"

// shape is where the texts of requests stand. What was thought goes back to the service as it came,
// which checks it, and what one says beside it is taken to belong to it. Tools of the service's
// own say what only it reads. What a thread goes on from the service has, and not the request: one
// that begins has it all, and is kept as it is sent. What stands before a compaction, which sums it
// up, is not shown to the model.
func shape() *dialect.Shape {
	s := dialect.Shape{Noun: "message", Prompt: "the system prompt", Joins: true}
	return s.Described(dialect.OpenAIRoles + `
request messages=list system=prompt tools=spoken context_management=omitting compaction=omitting
	thread=earlier
message role=role content=content
types =said
part
	type=type text=text content=content name=spoken input=spoken
	citations=binding cache_control=mark
part-types
	text=text tool_result=result tool_use=call
	thinking=thought redacted_thinking=thought
	image=media document=media search_result=media container_upload=media *_tool_use=media *_tool_result=media
	compaction=omitting
`)
}

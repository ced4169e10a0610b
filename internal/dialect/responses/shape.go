package responses

import "sluice/internal/dialect"

// shape is where the texts of requests stand. What stands before a compaction, which sums it up,
// the service need not show to the model.
func shape() *dialect.Shape {
	s := dialect.Shape{Noun: "item", Prompt: "the instructions", Items: true}
	return s.Described(dialect.OpenAIShape + `
request input=list instructions=prompt
message type=type output=output
	name=spoken arguments=spoken input=spoken
types
	=said message=said
	function_call_output=result custom_tool_call_output=result
	function_call=call custom_tool_call=call
	compaction=omitting compaction_summary=omitting context_compaction=omitting compaction_trigger=omitting
`)
}

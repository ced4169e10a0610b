package gemini

import "sluice/internal/dialect"

// shape is where the texts of requests stand. Of an object that a tool answers with, they are what
// requestReader.result takes for what it says. A role "system" the API itself refuses, and SDKs
// send.
func shape() *dialect.Shape {
	s := dialect.Shape{Noun: "message", Prompt: "the system instruction"}
	return s.Described(`
request
	contents=list systemInstruction=prompt system_instruction=prompt tools=spoken
	cachedContent=earlier cached_content=earlier
message role=role parts=content
types =said
roles user=user model=assistant function=tool tool=tool =user system=system
part
	text=text functionCall=call functionResponse=result function_call=call function_response=result
	inlineData=media fileData=media inline_data=media file_data=media executableCode=media codeExecutionResult=media
	thought=thought thoughtSignature=binding thought_signature=binding
call name=spoken args=spoken
result name=spoken response=output parts=media
output output=text result=text error=text
`)
}

//go:build !race

package replay

import "sluice/internal/llm"

// samples have about all that a reply can have, spread over lines as OpenAI's
// servers do.
var samples = map[llm.Operation]string{
	llm.Chat: `{
  "id": "chatcmpl-1",
  "object": "chat.completion",
  "created": 1741569952,
  "model": "gpt-4.1-2025-04-14",
  "choices": [
    {
      "index": 0,
      "message": {
        "role": "assistant",
        "content": "Grüße,\n\"you\" \ud83d\ude00",
        "refusal": null,
        "annotations": []
      },
      "logprobs": {"content": [{"token": "Gr", "logprob": -0.1, "bytes": [71, 114], "top_logprobs": []}], "refusal": null},
      "finish_reason": "stop"
    },
    {
      "index": 1,
      "message": {
        "content": null,
        "reasoning_content": "why\u0020not",
        "tool_calls": [
          {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
          {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}}
        ],
        "role": "assistant",
        "x": {"y": [ ]},
        "refusal": "no"
      },
      "logprobs": null,
      "native_finish_reason": "tool",
      "finish_reason": "tool_calls"
    }
  ],
  "usage": {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29
  },
  "service_tier": "default",
  "system_fingerprint": "fp_1",
  "citations": ["https://example.com"]
}
`,
	llm.Completion: `{"id":"cmpl-1","object":"text_completion","created":1589478378,"model":"gpt-3.5-turbo-instruct","choices":[` +
		`{"text":"one","index":0,"logprobs":null,"finish_reason":"length"},{"text":"two","index":1,"logprobs":{"tokens":["two"]},"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}`,
	llm.Response: `{
  "id": "resp_1", "object": "response", "created_at": 1741476542, "status": "incomplete", "completed_at": null, "error": null,
  "incomplete_details": {"reason": "max_output_tokens"}, "instructions": null, "model": "gpt-4.1-2025-04-14",
  "output": [
    {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "first"}, {"type": "summary_text", "text": "then"}],
     "content": [{"type": "reasoning_text", "text": "thought"}], "encrypted_content": "abc"},
    {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"id": "fc_1", "type": "function_call", "status": "completed", "arguments": "{\"a\":1}", "call_id": "call_1", "name": "f"},
    {"id": "msg_1", "type": "message", "status": "incomplete", "role": "assistant", "content": [
      {"type": "output_text", "text": "a\nb \"c\"", "logprobs": [],
       "annotations": [{"type": "url_citation", "start_index": 0, "end_index": 1, "url": "https://example.com", "title": "t"}]},
      {"type": "refusal", "refusal": "I can't"}
    ]}
  ],
  "parallel_tool_calls": true, "previous_response_id": null, "reasoning": {"effort": null, "summary": null}, "store": true,
  "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0, "truncation": "disabled",
  "usage": {"input_tokens": 36, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens": 87,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 123},
  "metadata": {}
}
`,
}

package messages

import (
	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// stored implements dialect.Storable.
type stored struct{}

// The members that Stateful looks at.
const (
	withTools dialect.Members = dialect.Own << iota
	withServers
	withContainer
	withThread
)

func (*stored) Member(name []byte) dialect.Members {
	switch string(name) {
	case "tools":
		return withTools
	case "mcp_servers":
		return withServers
	case "container":
		return withContainer
	case "thread":
		return withThread
	default:
		return dialect.MemberOf(name)
	}
}

func (*stored) Keeps() bool { return false }

// Stateful takes a tool without a type for the client's; all others have their version in it,
// as bash_20250124.
func (*stored) Stateful(body []byte, seen dialect.Members) bool {
	return seen&withServers != 0 && jsonscan.Member(body, "mcp_servers") != nil ||
		seen&withContainer != 0 && jsonscan.Member(body, "container") != nil ||
		seen&withThread != 0 && jsonscan.Member(body, "thread") != nil || // which goes on from a reply once
		seen&withTools != 0 && dialect.Acts(body, []string{"", "custom"},
			[]string{"bash_", "text_editor_", "computer_", "memory_", // the client's
				"web_search_", "web_fetch_", "tool_search_tool_"})
}

func (*stored) Deterministic(body []byte) bool { return dialect.Seeded(body) }

func (*stored) Complete(body []byte, _ llm.Outline) bool {
	return dialect.Is(jsonscan.Member(body, "type"), "message") && jsonscan.Member(body, "stop_reason") != nil
}

func (*stored) Last(data []byte) bool { return dialect.Is(jsonscan.Member(data, "type"), stop) }

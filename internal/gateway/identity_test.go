package gateway

import (
	"strings"
	"testing"

	"sluice/internal/config"
	"sluice/internal/llm"
)

func TestIdentity(t *testing.T) {
	made := func(change func(*config.Upstream)) string {
		u := config.Upstream{Name: "one", Protocol: "openai", Weight: 1}
		u.BaseURL, u.APIKey = "https://one.example/v1", llm.NewSecret("k1-secret")
		u.Headers = map[string]string{"Api-Version": "1", "Team": "a"}
		change(&u)
		return identity(u)
	}
	base := made(func(*config.Upstream) {})
	// A digest that was once written to disk has to be found again.
	if want := "032f05be6c7b64168a769e7666dd2b7f1c488dbec55d0b3e0639a88cb8a44e6a"; base != want {
		t.Errorf("identity %s, want %s", base, want)
	}
	for name, change := range map[string]func(*config.Upstream){
		"weight":      func(u *config.Upstream) { u.Weight = 2 },
		"models":      func(u *config.Upstream) { u.Models = []string{"m"} },
		"header case": func(u *config.Upstream) { u.Headers = map[string]string{"api-version": "1", "team": "a"} },
	} {
		if made(change) != base {
			t.Errorf("%s counts", name)
		}
	}
	seen := map[string]string{base: "nothing"}
	for name, change := range map[string]func(*config.Upstream){
		"address":       func(u *config.Upstream) { u.BaseURL = "https://two.example/v1" },
		"protocol":      func(u *config.Upstream) { u.Protocol = "other" },
		"key":           func(u *config.Upstream) { u.APIKey = llm.NewSecret("k2-secret") },
		"header value":  func(u *config.Upstream) { u.Headers["Team"] = "b" },
		"header gone":   func(u *config.Upstream) { delete(u.Headers, "Team") },
		"header joined": func(u *config.Upstream) { u.Headers = map[string]string{"Api-Version": "1" + "\x04Team\x01a"} },
		"key in header": func(u *config.Upstream) { u.APIKey, u.Headers["Authorization"] = llm.Secret{}, "Bearer k1-secret" },
	} {
		id := made(change)
		if other, ok := seen[id]; ok {
			t.Errorf("%s is the same as %s", name, other)
		}
		if strings.Contains(id, "secret") {
			t.Errorf("%s shows the key", id)
		}
		seen[id] = name
	}
}

// The simulator has another port after each start, and the same answers.
func TestSimulatorIdentity(t *testing.T) {
	one, _ := run(t, load(t), nil)
	two, _ := run(t, load(t), nil)
	a, nameA, okA := one.chain.router.Group("sim-chat")
	b, nameB, okB := two.chain.router.Group("sim-chat")
	if !okA || !okB || a != b || nameA != "sim-chat" || nameB != nameA {
		t.Errorf("%x %s %v, %x %s %v", a, nameA, okA, b, nameB, okB)
	}
}

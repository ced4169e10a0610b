package cel

import (
	"strings"
	"testing"
)

// TestReserve: what an expression puts together is reserved before it is there, and where
// that is refused the expression fails, however it goes on.
func TestReserve(t *testing.T) {
	doc := `{"a":"` + strings.Repeat(`\n`, 50_000) + `","l":[` + strings.Repeat("1,", 20_000) + `1],"m":{` + strings.Repeat(`"x":1,`, 20_000) + `"y":1},"t":[` + strings.Repeat(`{"role":"tool"},`, 5_000) + `{}]}`
	for _, expr := range []string{
		`r.a + r.a`, `json(r.a)`, `base64(r.a)`, `hex(r.a)`, `unhex(hex(r.a))`, `unbase64(base64(r.a))`, `parts(r.a)`, `r.a.split("\n", -1)`,
		`r.l + r.l`, `[r.a + ""]`, `turns(r.t)`, `r.a + "" == "" || true`, `json(r.l + [1])`,
	} {
		p, err := Compile(expr, []Var{{Name: "r"}})
		if err != nil {
			t.Fatal(err)
		}
		var e Env
		held, most := 0, 1<<30
		reserve := func(n int) bool {
			if held+n > most {
				return false
			}
			held += n
			return true
		}
		e.Reset(Limits{Reserve: reserve})
		e.Set(0, JSON([]byte(doc)))
		if _, err := p.Eval(&e); err != nil || held < 40_000 {
			t.Errorf("%s: %v, with %d bytes", expr, err, held)
		}
		held, most = 0, 30_000
		e = Env{}
		e.Reset(Limits{Reserve: reserve})
		e.Set(0, JSON([]byte(doc)))
		_, _ = p.Eval(&e) // "true" of an alternative, so that there need be no error
		if !e.lacks || cap(e.text)+bytesOf(e.values)*cap(e.values) > most {
			t.Errorf("%s: %d bytes of text and %d values, and nothing was refused", expr, cap(e.text), cap(e.values))
		}
	}
}

package chattemplate

import (
	"slices"
	"strconv"
)

// parser compiles tokens to functions.
type parser struct {
	tokens []token
	at     int
	depth  int
}

func (p *parser) peek() *token { return &p.tokens[p.at] }

func (p *parser) next() *token {
	t := &p.tokens[p.at]
	if p.at < len(p.tokens)-1 {
		p.at++
	}
	return t
}

func (p *parser) fail(t *token, msg string) {
	panic(&Error{Line: t.line, Msg: msg})
}

func (p *parser) unexpected(t *token) {
	text := t.text
	if len(text) > 40 || t.kind == 't' {
		text = "text"
	}
	p.fail(t, "unexpected "+strconv.Quote(text))
}

func (p *parser) is(kind byte, text string) bool {
	t := p.peek()
	return t.kind == kind && t.text == text
}

// skip takes an operator, or a name, if it stands here.
func (p *parser) skip(kind byte, text string) bool {
	if p.is(kind, text) {
		p.at++
		return true
	}
	return false
}

func (p *parser) want(kind byte, text string) *token {
	t := p.next()
	if t.kind != kind || text != "" && t.text != text {
		p.unexpected(t)
	}
	return t
}

// deeper bounds how deep a template nests.
func (p *parser) deeper() {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.peek(), "the template is nested too deep")
	}
}

// body reads statements up to one of the words, which is left unread behind its "{%".
func (p *parser) body(ends ...string) (list []stmt) {
	p.deeper()
	defer func() { p.depth-- }()
	for {
		t := p.next()
		switch t.kind {
		case 't':
			text := t.text
			list = append(list, func(e *exec) flow { e.print(text); return goOn })
		case '{':
			x, line := p.expr(), t.line
			p.want('}', "")
			list = append(list, func(e *exec) flow {
				e.line = line
				e.print(e.text(x(e)))
				return goOn
			})
		case '%':
			if w := p.peek(); w.kind == 'n' && slices.Contains(ends, w.text) {
				return list
			}
			if s := p.statement(); s != nil {
				line := t.line
				list = append(list, func(e *exec) flow { e.line = line; return s(e) })
			}
		case 0:
			if len(ends) > 0 {
				p.fail(t, "the template ends where "+ends[len(ends)-1]+" is missing")
			}
			return list
		default:
			p.unexpected(t)
		}
	}
}

func (p *parser) endTag() { p.want('e', "") }

// end takes the word that ends a body, and the end of its tag.
func (p *parser) end(word string) {
	p.want('n', word)
	p.endTag()
}

func (p *parser) statement() stmt {
	t := p.next()
	if t.kind != 'n' {
		p.unexpected(t)
	}
	switch t.text {
	case "if":
		return p.ifs()
	case "for":
		return p.fors()
	case "set":
		return p.set()
	case "macro":
		return p.macro()
	case "break":
		p.endTag()
		return func(*exec) flow { return breakLoop }
	case "continue":
		p.endTag()
		return func(*exec) flow { return nextTurn }
	case "generation": // marks what a model said; it prints the same
		p.endTag()
		body := p.body("endgeneration")
		p.end("endgeneration")
		return func(e *exec) flow { return e.run(body) }
	case "filter":
		return p.filterBlock()
	}
	p.fail(t, "the statement "+strconv.Quote(t.text)+" is not supported")
	return nil
}

func (p *parser) ifs() stmt {
	cond := p.expr()
	p.endTag()
	then := p.body("elif", "else", "endif")
	var els []stmt
	switch {
	case p.skip('n', "elif"):
		p.deeper()
		els = []stmt{p.ifs()}
		p.depth--
	case p.skip('n', "else"):
		p.endTag()
		els = p.body("endif")
		p.end("endif")
	default:
		p.end("endif")
	}
	return func(e *exec) flow {
		if truth(cond(e)) {
			return e.run(then)
		}
		return e.run(els)
	}
}

// targets reads the names that values are given to.
func (p *parser) targets() (names []string) {
	paren := p.skip('o', "(")
	for {
		names = append(names, p.want('n', "").text)
		if !p.skip('o', ",") || p.peek().kind != 'n' || p.is('n', "in") {
			break
		}
	}
	if paren {
		p.want('o', ")")
	}
	return names
}

func (p *parser) fors() stmt {
	names := p.targets()
	p.want('n', "in")
	over := p.tuple(false)
	var cond expr
	if p.skip('n', "if") {
		cond = p.expr()
	}
	p.endTag()
	body := p.body("else", "endfor")
	var els []stmt
	if p.skip('n', "else") {
		p.endTag()
		els = p.body("endfor")
	}
	p.end("endfor")
	return func(e *exec) flow { return e.loop(names, over, cond, body, els) }
}

func (p *parser) set() stmt {
	names := p.targets()
	if p.skip('o', ".") {
		member := p.want('n', "").text
		p.want('o', "=")
		x := p.tuple(true)
		p.endTag()
		return func(e *exec) flow {
			d, ok := e.lookup(names[0]).(*dict)
			if !ok || !d.space {
				e.fail("members of a namespace alone can be set")
			}
			e.spend(48)
			d.set(member, x(e))
			return goOn
		}
	}
	if p.skip('o', "=") {
		x := p.tuple(true)
		p.endTag()
		return func(e *exec) flow {
			e.spend(48)
			e.assign(e.frame, names, x(e))
			return goOn
		}
	}
	var filters func(expr) expr
	if p.is('o', "|") {
		filters = p.filters()
	}
	p.endTag()
	body := p.body("endset")
	p.end("endset")
	return func(e *exec) flow {
		var v value = e.capture(&frame{parent: e.frame}, body)
		if filters != nil {
			v = filters(func(*exec) value { return v })(e)
		}
		e.assign(e.frame, names, v)
		return goOn
	}
}

// filters reads "| name(…)" as often as it stands here.
func (p *parser) filters() func(expr) expr {
	var list []func(expr) expr
	for p.skip('o', "|") {
		list = append(list, p.filter())
	}
	return func(x expr) expr {
		for _, f := range list {
			x = f(x)
		}
		return x
	}
}

func (p *parser) filterBlock() stmt {
	first := p.filter()
	rest := p.filters()
	p.endTag()
	body := p.body("endfilter")
	p.end("endfilter")
	return func(e *exec) flow {
		s := e.capture(&frame{parent: e.frame}, body)
		e.print(e.text(rest(first(func(*exec) value { return s }))(e)))
		return goOn
	}
}

func (p *parser) macro() stmt {
	name := p.want('n', "").text
	p.want('o', "(")
	var names []string
	var defaults []expr
	for !p.skip('o', ")") {
		if len(names) > 0 {
			p.want('o', ",")
			if p.skip('o', ")") {
				break
			}
		}
		names = append(names, p.want('n', "").text)
		var d expr
		if p.skip('o', "=") {
			d = p.expr()
		}
		defaults = append(defaults, d)
	}
	p.endTag()
	body := p.body("endmacro")
	p.end("endmacro")
	return func(e *exec) flow {
		home := e.frame
		e.frame.set(name, function(func(e *exec, a arguments) value {
			if len(a.list) > len(names) {
				e.fail("the macro %s takes %d values", name, len(names))
			}
			f := &frame{parent: home}
			for i, n := range names {
				v, ok := a.get(i, n)
				if !ok {
					if v = (undefined{n}); defaults[i] != nil {
						old := e.frame
						e.frame = f
						v = defaults[i](e)
						e.frame = old
					}
				}
				f.set(n, v)
			}
			return e.capture(f, body)
		}))
		return goOn
	}
}

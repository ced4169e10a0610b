package chattemplate

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tuple reads one expression, or several with commas between.
func (p *parser) tuple(conditional bool) expr {
	one := p.expr
	if !conditional { // "for x in a if b" has no condition within a
		one = p.or
	}
	x := one()
	if !p.is('o', ",") {
		return x
	}
	all := []expr{x}
	for p.skip('o', ",") {
		if k := p.peek().kind; k == 'e' || k == '}' {
			break
		}
		all = append(all, one())
	}
	return makeList(all, true)
}

func makeList(all []expr, tuple bool) expr {
	return func(e *exec) value {
		e.spend(16 * len(all))
		l := &list{items: make([]value, len(all)), tuple: tuple}
		for i, x := range all {
			l.items[i] = x(e)
		}
		return l
	}
}

// expr reads an expression: a if b else c.
func (p *parser) expr() expr {
	p.deeper()
	defer func() { p.depth-- }()
	x := p.or()
	for p.skip('n', "if") {
		then, cond := x, p.or()
		els := expr(func(*exec) value { return undefined{"the condition's other value"} })
		if p.skip('n', "else") {
			els = p.expr()
		}
		x = func(e *exec) value {
			if truth(cond(e)) {
				return then(e)
			}
			return els(e)
		}
	}
	return x
}

func (p *parser) or() expr {
	x := p.and()
	for p.skip('n', "or") {
		a, b := x, p.and()
		x = func(e *exec) value {
			if v := a(e); truth(v) {
				return v
			}
			return b(e)
		}
	}
	return x
}

func (p *parser) and() expr {
	x := p.not()
	for p.skip('n', "and") {
		a, b := x, p.not()
		x = func(e *exec) value {
			if v := a(e); !truth(v) {
				return v
			}
			return b(e)
		}
	}
	return x
}

func (p *parser) not() expr {
	if !p.skip('n', "not") {
		return p.compare()
	}
	p.deeper()
	defer func() { p.depth-- }()
	x := p.not()
	return func(e *exec) value { return !truth(x(e)) }
}

// comparison gives the operator that stands here, "" for none.
func (p *parser) comparison() string {
	t := p.peek()
	switch {
	case t.kind == 'o' && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.text), t.kind == 'n' && t.text == "in":
		p.at++
		return t.text
	case t.kind == 'n' && t.text == "not" && p.tokens[p.at+1].kind == 'n' && p.tokens[p.at+1].text == "in":
		p.at += 2
		return "not in"
	}
	return ""
}

func (p *parser) compare() expr {
	first := p.sum()
	var ops []string
	var rest []expr
	for op := p.comparison(); op != ""; op = p.comparison() {
		ops, rest = append(ops, op), append(rest, p.sum())
	}
	if ops == nil {
		return first
	}
	return func(e *exec) value {
		a := first(e)
		for i, op := range ops {
			b := rest[i](e)
			if !e.holds(op, a, b) {
				return false
			}
			a = b
		}
		return true
	}
}

func (e *exec) holds(op string, a, b value) bool {
	e.step(1)
	switch op {
	case "==":
		return e.equal(a, b)
	case "!=":
		return !e.equal(a, b)
	case "in":
		return e.contains(b, a)
	case "not in":
		return !e.contains(b, a)
	case "<":
		return e.compare(a, b) < 0
	case "<=":
		return e.compare(a, b) <= 0
	case ">":
		return e.compare(a, b) > 0
	}
	return e.compare(a, b) >= 0
}

func (e *exec) contains(in, v value) bool {
	switch in := in.(type) {
	case string:
		s, ok := v.(string)
		if !ok {
			e.fail("%s cannot be in a string", kindOf(v))
		}
		e.step(len(in) / scanned)
		return strings.Contains(in, s)
	case *dict:
		s, ok := v.(string)
		if !ok {
			return false
		}
		_, ok = in.get(s)
		return ok
	case *list:
		return slices.ContainsFunc(in.items, func(item value) bool { return e.equal(item, v) })
	case undefined:
		return false
	}
	e.fail("nothing can be in %s", kindOf(in))
	return false
}

func (p *parser) binary(operand func() expr, ops ...string) expr {
	x := operand()
	for {
		t := p.peek()
		if t.kind != 'o' || !slices.Contains(ops, t.text) {
			return x
		}
		p.at++
		op, a, b := t.text, x, operand()
		x = func(e *exec) value {
			v, w := a(e), b(e)
			e.step(1)
			return e.arithmetic(op, v, w)
		}
	}
}

func (p *parser) sum() expr     { return p.binary(p.concat, "+", "-") }
func (p *parser) product() expr { return p.binary(p.power, "*", "/", "//", "%") }

func (p *parser) concat() expr {
	x := p.product()
	if !p.is('o', "~") {
		return x
	}
	all := []expr{x}
	for p.skip('o', "~") {
		all = append(all, p.product())
	}
	return func(e *exec) value {
		var b strings.Builder
		for _, x := range all {
			s := e.text(x(e))
			e.step(len(s) / copied)
			e.spend(2 * len(s)) // with what the text grows by
			b.WriteString(s)
		}
		return b.String()
	}
}

func (p *parser) power() expr {
	return p.binary(func() expr { return p.unary(true) }, "**")
}

func (p *parser) unary(filtered bool) expr {
	t := p.peek()
	var x expr
	if t.kind == 'o' && (t.text == "-" || t.text == "+") {
		p.at++
		p.deeper()
		of := p.unary(false)
		p.depth--
		minus := t.text == "-"
		x = func(e *exec) value {
			v := of(e)
			i, f, isInt, ok := number(v)
			switch {
			case !ok:
				e.fail("%s has no sign", kindOf(v))
			case minus && isInt:
				return e.times(i, -1)
			case minus:
				return -f
			case isInt:
				return i
			}
			return f
		}
	} else {
		x = p.primary()
	}
	x = p.postfix(x)
	if filtered {
		x = p.tested(x)
	}
	return x
}

func (e *exec) arithmetic(op string, a, b value) value {
	i, f, isInt, ok := number(a)
	j, g, isInt2, ok2 := number(b)
	if ok && ok2 {
		if isInt && isInt2 && op != "/" {
			return e.ints(op, i, j)
		}
		return e.floats(op, f, g)
	}
	switch op {
	case "+":
		if s, ok := a.(string); ok {
			if t, ok := b.(string); ok {
				e.step((len(s) + len(t)) / copied)
				e.spend(len(s) + len(t))
				return s + t
			}
		}
		if l, ok := a.(*list); ok {
			if m, ok := b.(*list); ok && l.tuple == m.tuple {
				e.step((len(l.items) + len(m.items)) / walked)
				e.spend(16 * (len(l.items) + len(m.items)))
				return &list{slices.Concat(l.items, m.items), l.tuple}
			}
		}
	case "*":
		if s, ok := a.(string); ok && isInt2 && ok2 {
			j = max(j, 0)
			if len(s) > 0 && j > int64(e.bytes/len(s)) {
				e.spend(e.bytes + 1)
			}
			e.step(len(s) * int(j) / copied)
			e.spend(len(s) * int(j))
			return strings.Repeat(s, int(j))
		}
	case "%":
		if _, ok := a.(string); ok {
			e.fail("strings are not formatted with %%; put them together with ~")
		}
	}
	e.fail("%s %s %s cannot be computed", kindOf(a), op, kindOf(b))
	return nil
}

// ints computes with integers, which have 64 bits here. Python's have as many as they
// need; what does not fit is an error.
func (e *exec) ints(op string, i, j int64) value {
	switch op {
	case "+":
		return e.plus(i, j)
	case "-":
		if j != math.MinInt64 {
			return e.plus(i, -j)
		} else if i >= 0 {
			e.beyond()
		}
		return i - j
	case "*":
		return e.times(i, j)
	case "**":
		return e.power(i, j)
	}
	if j == 0 {
		e.fail("division by zero")
	}
	if i == math.MinInt64 && j == -1 && op == "//" {
		e.beyond()
	}
	q, r := i/j, i%j
	if r != 0 && (r < 0) != (j < 0) { // rounded down, as Python does
		q, r = q-1, r+j
	}
	if op == "//" {
		return q
	}
	return r
}

// beyond fails because of an integer that has no room in 64 bits.
func (e *exec) beyond() { e.fail("the integer is beyond 64 bits") }

func (e *exec) plus(i, j int64) int64 {
	n := i + j
	if (n > i) != (j > 0) {
		e.beyond()
	}
	return n
}

func (e *exec) times(i, j int64) int64 {
	if i == 0 || j == 0 {
		return 0
	}
	n := i * j
	if n/j != i || i == math.MinInt64 && j == -1 {
		e.beyond()
	}
	return n
}

func (e *exec) power(i, j int64) value {
	if j < 0 {
		if i == 0 {
			e.fail("division by zero")
		}
		return math.Pow(float64(i), float64(j))
	}
	if i == -1 || i == 0 || i == 1 {
		j = min(j, 2-j%2) // of one, or none, as often as another of its kind
	}
	n := int64(1)
	for range j { // after 63 at most it is beyond
		n = e.times(n, i)
	}
	return n
}

func (e *exec) floats(op string, f, g float64) value {
	switch op {
	case "+":
		return f + g
	case "-":
		return f - g
	case "*":
		return f * g
	case "**":
		return math.Pow(f, g)
	}
	if g == 0 {
		e.fail("division by zero")
	}
	switch op {
	case "/":
		return f / g
	case "//":
		return math.Floor(f / g)
	}
	m := math.Mod(f, g)
	if m != 0 && (m < 0) != (g < 0) {
		m += g
	}
	return m
}

func constant(v value) expr { return func(*exec) value { return v } }

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case 'n':
		switch t.text {
		case "true", "True":
			return constant(true)
		case "false", "False":
			return constant(false)
		case "none", "None":
			return constant(nil)
		case "if", "else", "and", "or", "not", "in", "is":
			p.unexpected(t)
		}
		name := t.text
		return func(e *exec) value { return e.lookup(name) }
	case 's':
		s := t.text
		for p.peek().kind == 's' {
			s += p.next().text
		}
		return constant(s)
	case 'i':
		i, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			p.fail(t, "the number is too large")
		}
		return constant(i)
	case 'f':
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			p.fail(t, "the number is too large")
		}
		return constant(f)
	case 'o':
		switch t.text {
		case "(":
			return p.paren()
		case "[":
			return makeList(p.until("]"), false)
		case "{":
			return p.mapping()
		}
	}
	p.unexpected(t)
	return nil
}

// until reads expressions up to a bracket.
func (p *parser) until(end string) (all []expr) {
	for !p.skip('o', end) {
		if len(all) > 0 {
			p.want('o', ",")
			if p.skip('o', end) {
				break
			}
		}
		all = append(all, p.expr())
	}
	return all
}

func (p *parser) paren() expr {
	if p.skip('o', ")") {
		return makeList(nil, true)
	}
	x := p.expr()
	if p.skip('o', ")") {
		return x
	}
	p.want('o', ",")
	return makeList(append([]expr{x}, p.until(")")...), true)
}

func (p *parser) mapping() expr {
	var keys, values []expr
	for !p.skip('o', "}") {
		if len(keys) > 0 {
			p.want('o', ",")
			if p.skip('o', "}") {
				break
			}
		}
		keys = append(keys, p.expr())
		p.want('o', ":")
		values = append(values, p.expr())
	}
	return func(e *exec) value {
		d := &dict{}
		for i := range keys {
			e.spend(48)
			key, ok := keys[i](e).(string)
			if !ok {
				e.fail("the key of a mapping is a string")
			}
			d.set(key, values[i](e))
		}
		return d
	}
}

// postfix reads members, indexes and calls.
func (p *parser) postfix(x expr) expr {
	for n := 0; ; n++ {
		if n > maxDepth {
			p.fail(p.peek(), "the template is nested too deep")
		}
		of := x
		switch {
		case p.skip('o', "."):
			t := p.next()
			if t.kind == 'i' {
				i, _ := strconv.ParseInt(t.text, 10, 64)
				x = func(e *exec) value { return e.index(of(e), i) }
				continue
			}
			if t.kind != 'n' {
				p.unexpected(t)
			}
			name := t.text
			x = func(e *exec) value { return e.member(of(e), name) }
		case p.skip('o', "["):
			x = p.subscript(of)
		case p.is('o', "("):
			line := p.peek().line
			p.at++
			args := p.arguments()
			x = func(e *exec) value {
				f, ok := of(e).(function)
				e.line = line
				if !ok {
					e.fail("%s is no function", e.named(of))
				}
				a := args(e)
				e.step(1)
				e.enter()
				v := f(e, a)
				e.leave()
				return v
			}
		default:
			return x
		}
	}
}

// named says in an error what cannot be called.
func (e *exec) named(x expr) string {
	if u, ok := x(e).(undefined); ok {
		return strconv.Quote(u.name)
	}
	return kindOf(x(e))
}

// arguments reads those of a call, behind its bracket.
func (p *parser) arguments() func(e *exec) arguments {
	var all, named []expr
	var names []string
	for first := true; !p.skip('o', ")"); first = false {
		if !first {
			p.want('o', ",")
			if p.skip('o', ")") {
				break
			}
		}
		if p.peek().kind == 'n' && p.tokens[p.at+1].kind == 'o' && p.tokens[p.at+1].text == "=" {
			names = append(names, p.next().text)
			p.at++
			named = append(named, p.expr())
			continue
		}
		if len(names) > 0 {
			p.unexpected(p.peek())
		}
		all = append(all, p.expr())
	}
	return func(e *exec) arguments {
		a := arguments{names: names}
		for _, x := range all {
			a.list = append(a.list, x(e))
		}
		for _, x := range named {
			a.named = append(a.named, x(e))
		}
		return a
	}
}

func (p *parser) subscript(of expr) expr {
	var bounds [3]expr
	n, slice := 0, false
	for !p.skip('o', "]") {
		switch {
		case p.skip('o', ":"):
			if slice = true; n == 2 {
				p.unexpected(&p.tokens[p.at-1])
			}
			n++
		case bounds[n] != nil:
			p.unexpected(p.peek())
		default:
			bounds[n] = p.expr()
		}
	}
	if slice {
		return func(e *exec) value { return e.slice(of(e), bounds) }
	}
	if bounds[0] == nil {
		p.unexpected(&p.tokens[p.at-1])
	}
	return func(e *exec) value { return e.index(of(e), bounds[0](e)) }
}

// member gives a member that stands behind a point: a method comes before a key of a
// mapping that is called so.
func (e *exec) member(v value, name string) value {
	e.step(1)
	switch v := v.(type) {
	case undefined:
		e.fail("%q is undefined, so it has no %q", v.name, name)
	case *dict:
		if !v.space {
			if m := dictMethod(v, name); m != nil {
				return m
			}
		}
		if item, ok := v.get(name); ok {
			return item
		}
	case string:
		if m := stringMethod(v, name); m != nil {
			return m
		}
	case *list:
		if m := listMethod(v, name); m != nil {
			return m
		}
	case *turn:
		if item, ok := v.member(name); ok {
			return item
		}
	}
	return undefined{name}
}

// index gives an element: a key of a mapping comes before a method.
func (e *exec) index(v, at value) value {
	e.step(1)
	switch v := v.(type) {
	case undefined:
		e.fail("%q is undefined, so it has no elements", v.name)
	case *dict:
		if name, ok := at.(string); ok {
			if item, ok := v.get(name); ok {
				return item
			}
			return e.member(v, name)
		}
		return undefined{"a member"}
	case *list:
		if i, ok := at.(int64); ok {
			if i < 0 {
				i += int64(len(v.items))
			}
			if i >= 0 && i < int64(len(v.items)) {
				return v.items[i]
			}
			return undefined{"an element of a list"}
		}
	case string:
		if i, ok := at.(int64); ok {
			s := e.slice(v, [3]expr{constant(i), constant(i + 1)})
			if i == -1 {
				s = e.slice(v, [3]expr{constant(i)})
			}
			if s == "" {
				return undefined{"a character of a string"}
			}
			return s
		}
	}
	if name, ok := at.(string); ok {
		return e.member(v, name)
	}
	return undefined{"an element"}
}

// slice gives a part of a list or a string, as Python's a[b:c:d].
func (e *exec) slice(v value, bounds [3]expr) value {
	if u, ok := v.(undefined); ok {
		e.fail("%q is undefined, so it has no elements", u.name)
	}
	l, isList := v.(*list)
	s, isString := v.(string)
	var runes []rune
	n := 0
	switch {
	case isList:
		n = len(l.items)
	case isString:
		e.step(len(s) / walked)
		e.spend(4 * len(s))
		runes = []rune(s)
		n = len(runes)
	default:
		e.fail("%s has no parts", kindOf(v))
	}
	bound := func(x expr, or int) int {
		if x == nil {
			return or
		}
		switch i := x(e).(type) {
		case int64:
			return int(max(min(i, math.MaxInt32), math.MinInt32))
		case nil:
			return or
		default:
			e.fail("the bounds of a part are integers")
			return 0
		}
	}
	step := bound(bounds[2], 1)
	if step == 0 {
		e.fail("the step of a part is not 0")
	}
	from, to := 0, n
	if step < 0 {
		from, to = n-1, -n-1
	}
	low, high := 0, n
	if step < 0 {
		low, high = -1, n-1
	}
	clamp := func(i int) int {
		if i < 0 {
			i += n
		}
		return max(low, min(i, high))
	}
	from, to = clamp(bound(bounds[0], from)), clamp(bound(bounds[1], to))
	if n == 0 {
		from, to = 0, 0
	}
	part := &list{}
	var text []byte
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		if e.step(1); isList {
			e.spend(perItem)
			part.items = append(part.items, l.items[i])
		} else {
			e.spend(4) // with what the text grows by
			text = utf8.AppendRune(text, runes[i])
		}
	}
	if isList {
		part.tuple = l.tuple
		return part
	}
	return e.made(string(text))
}

// tested reads filters and tests behind a value.
func (p *parser) tested(x expr) expr {
	for n := 0; n <= maxDepth; n++ {
		switch {
		case p.skip('o', "|"):
			x = p.filter()(x)
		case p.skip('n', "is"):
			x = p.test(x)
		case p.is('o', "(") || p.is('o', ".") || p.is('o', "["):
			x = p.postfix(x)
		default:
			return x
		}
	}
	p.fail(p.peek(), "the template is nested too deep")
	return nil
}

// filter reads the name of a filter and its arguments.
func (p *parser) filter() func(expr) expr {
	t := p.want('n', "")
	f := filterOf(t.text)
	if f == nil {
		p.fail(t, "the filter "+strconv.Quote(t.text)+" is not supported")
	}
	args := func(*exec) arguments { return arguments{} }
	if p.skip('o', "(") {
		args = p.arguments()
	}
	line := t.line
	return func(x expr) expr {
		return func(e *exec) value {
			v, a := x(e), args(e)
			e.line = line
			e.step(1)
			return f(e, v, a)
		}
	}
}

// test reads what stands behind "is".
func (p *parser) test(x expr) expr {
	not := p.skip('n', "not")
	t := p.next()
	name := t.text
	if t.kind != 'n' && t.kind != 'o' {
		p.unexpected(t)
	}
	f := testOf(name)
	if f == nil {
		p.fail(t, "the test "+strconv.Quote(name)+" is not supported")
	}
	args := func(*exec) arguments { return arguments{} }
	switch next := p.peek(); {
	case p.skip('o', "("):
		args = p.arguments()
	case next.kind == 's' || next.kind == 'i' || next.kind == 'f' || next.kind == 'o' && (next.text == "[" || next.text == "{") ||
		next.kind == 'n' && !slices.Contains([]string{"else", "and", "or", "if", "in", "is", "not"}, next.text):
		one := p.postfix(p.primary())
		args = func(e *exec) arguments { return arguments{list: []value{one(e)}} }
	}
	return func(e *exec) value {
		v := x(e)
		e.step(1)
		return f(e, v, args(e)) != not
	}
}

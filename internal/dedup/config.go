package dedup

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strings"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Config is the `dedup` section.
type Config struct {
	// Mode is that of requests for which nothing else is said: off, safe or blocks.
	Mode string `yaml:"mode" env:"SLUICE_DEDUP_MODE"`

	// Models are modes by model: by the name that the client uses, else by what that stands for
	// once aliases are replaced, else by what the upstreams call it. A name may end in "*": such
	// ones are looked at, in the same order and the longest first, where none of the names is
	// there as it is. Where the API key has a mode as well, the more careful one holds.
	Models map[string]string `yaml:"models"`

	// Override lets a request choose with the header X-Sluice-Dedup.
	Override bool `yaml:"override"`

	// PromptCache says that upstreams keep the prompts that they have read, and charge a tenth
	// for reading them again: nothing is rewritten then where that costs more than it saves.
	PromptCache bool `yaml:"prompt_cache"`

	// MinBlock is the length of the shortest block, from 256 to 4,096 bytes as it stands in the
	// body, where an escape of JSON counts with all its characters.
	MinBlock int `yaml:"min_block"`

	// Reference is how a reference is put; see parseWording for its blanks.
	Reference string `yaml:"reference"`

	// IgnoreSpace and VolatileLines say what is not to count where two prompts of the system
	// are compared: how much white space there is, and lines that match one of these regular
	// expressions.
	IgnoreSpace   bool     `yaml:"ignore_space"`
	VolatileLines []string `yaml:"volatile_lines"`
}

// Default returns the configuration that holds where nothing is said.
func Default() Config {
	return Config{
		Mode: llm.DedupSafe.String(), Override: true, PromptCache: true, MinBlock: 512,
		Reference: `[[Sluice: the same text as {lines} of {source}, from "{first}" to "{last}"]]`,
	}
}

// The bounds of Config.MinBlock. Lines that go on as earlier ones do for a little less than it
// are compared in vain, for some MinBlock/stride times the length of a body: the time that one
// made for it takes grows with MinBlock.
const (
	leastBlock = 256
	mostBlock  = 4 << 10
)

// Validate returns all faults, each as "key: what is wrong", the key below `dedup`.
func (c Config) Validate() error {
	_, err := c.compile()
	return err
}

// Off reports whether no request is ever looked into. keys are the modes of API keys.
func (c Config) Off(keys map[string]string) bool {
	off := func(mode string) bool { return mode == llm.DedupOff.String() }
	for _, modes := range []map[string]string{c.Models, keys} {
		for _, mode := range modes {
			if !off(mode) {
				return false
			}
		}
	}
	return off(c.Mode) && !c.Override
}

// rules are a configuration that is ready for use.
type rules struct {
	Config
	wording  wording
	mode     llm.DedupMode
	exact    map[string]llm.DedupMode
	prefixes []prefixMode // the longest first
	volatile []*regexp.Regexp
}

type prefixMode struct {
	prefix string
	mode   llm.DedupMode
}

// compile makes the rules. The error has all faults.
func (c Config) compile() (*rules, error) {
	r := &rules{Config: c}
	var faults []error
	mode := func(key, value string) llm.DedupMode {
		m, ok := llm.ParseDedupMode(value)
		if !ok {
			faults = append(faults, fmt.Errorf("%s: %q is none of %s", key, value, strings.Join(llm.DedupModes(), ", ")))
		}
		return m
	}
	r.mode = mode("mode", c.Mode)
	for _, name := range slices.Sorted(maps.Keys(c.Models)) {
		m := mode("models."+name, c.Models[name])
		prefix, many := strings.CutSuffix(name, "*")
		switch {
		case name == "" || strings.Contains(prefix, "*"):
			faults = append(faults, fmt.Errorf(`models: %q is not a model's name, or the beginning of one and "*"`, name))
		case many:
			r.prefixes = append(r.prefixes, prefixMode{prefix, m})
		default:
			if r.exact == nil {
				r.exact = make(map[string]llm.DedupMode)
			}
			r.exact[name] = m
		}
	}
	sort.SliceStable(r.prefixes, func(i, j int) bool { return len(r.prefixes[i].prefix) > len(r.prefixes[j].prefix) })
	if c.MinBlock < leastBlock || c.MinBlock > mostBlock {
		faults = append(faults, fmt.Errorf("min_block: %d is not from %d to %d", c.MinBlock, leastBlock, mostBlock))
	}
	var err error
	if r.wording, err = parseWording(c.Reference); err != nil {
		faults = append(faults, fmt.Errorf("reference: %w", err))
	}
	for i, s := range c.VolatileLines {
		re, err := regexp.Compile(s)
		if err != nil {
			faults = append(faults, fmt.Errorf("volatile_lines[%d]: %w", i, err))
			continue
		}
		r.volatile = append(r.volatile, re)
	}
	return r, errors.Join(faults...)
}

// of gives the mode of a request, of whose API key the mode is key.
func (r *rules) of(req *llm.Request, key llm.DedupMode, names Names) llm.DedupMode {
	if r.Override && req.Dedup != llm.DedupUnset {
		return req.Dedup
	}
	model := r.ofModel(req.Model, names)
	switch {
	case model == llm.DedupUnset && key == llm.DedupUnset:
		return r.mode
	case model == llm.DedupUnset:
		return key
	case key == llm.DedupUnset:
		return model
	default:
		return min(model, key)
	}
}

// ofModel gives the mode of a model: that of one of its names, first the client's own, or else that
// of the longest beginning of the first that has one.
func (r *rules) ofModel(model string, names Names) llm.DedupMode {
	if len(r.Models) == 0 {
		return llm.DedupUnset
	}
	if m, ok := r.exact[model]; ok {
		return m
	}
	full, resolved := names(model)
	for _, name := range [...]string{full, resolved} {
		if m, ok := r.exact[name]; ok {
			return m
		}
	}
	for _, name := range [...]string{model, full, resolved} {
		for _, p := range r.prefixes {
			if strings.HasPrefix(name, p.prefix) {
				return p.mode
			}
		}
	}
	return llm.DedupUnset
}

// CacheWrite and CacheRead are the prices of a byte, or a token, that a service's cache of prompts
// has to do with, in hundredths of that of another: to be written there, to be read from there.
const CacheWrite, CacheRead = 125, 10

// pays reports whether it pays to rewrite a message that an earlier request ended with: one of
// size bytes, of which saved are then not sent, after so many turns of the model.
//
// Up to here the service has it in its cache, and all that follows it is to be written there in
// either case. To read it as it is costs 0.1 of the price of its bytes, to write what becomes
// of it 1.25, once; each later turn then saves 0.1 of what is not there any more. How many there
// will be nobody knows: one that has had n turns is taken to have n/4 more.
// Decision 29 says how that was chosen. A rich message has what is no text, such as an image, which
// would be written anew too: nobody knows at what price.
func (r *rules) pays(size, saved, turns int, rich bool) bool {
	return !r.PromptCache || !rich && CacheWrite*(size-saved) <= CacheRead*(size+saved*turns/4)
}

// loose reports whether something of prompts is not to count.
func (r *rules) loose() bool { return r.IgnoreSpace || len(r.volatile) > 0 }

// plain gives what of a prompt counts. It is false where nothing does.
func (r *rules) plain(raw []byte) ([]byte, bool) {
	text, err := jsonscan.String(slices.Concat([]byte{'"'}, raw, []byte{'"'}))
	if err != nil {
		return nil, false
	}
	var out []byte
lines:
	for line := range strings.Lines(text) {
		for _, re := range r.volatile {
			if re.MatchString(strings.TrimRight(line, "\r\n")) {
				continue lines
			}
		}
		if !r.IgnoreSpace {
			out = append(out, line...)
			continue
		}
		for word := range strings.FieldsSeq(line) {
			out = append(append(out, word...), ' ')
		}
	}
	return out, len(out) > 0
}

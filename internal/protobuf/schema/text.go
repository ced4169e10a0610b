package schema

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxFaults is how many faults of a text are told at once.
const maxFaults = 10

// texts are where a compilation has its .proto texts from. Standard files come
// first, and nothing else can take their place.
type texts struct {
	read func(path string, limit int) ([]byte, error)

	mu           sync.Mutex // files are compiled in parallel
	files, bytes int
	tally        tally
}

func newTexts(l Limits, read func(path string, limit int) ([]byte, error)) *texts {
	return &texts{read: read, tally: tally{limits: l}}
}

// FindFileByPath is called once for each file that is named or imported.
func (t *texts) FindFileByPath(path string) (protocompile.SearchResult, error) {
	if fd, ok := standard(path); ok {
		return protocompile.SearchResult{Desc: fd}, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	limits := t.tally.limits
	if t.files++; t.files > limits.MaxFiles {
		return protocompile.SearchResult{}, over("files", limits.MaxFiles)
	}
	text, err := t.read(path, limits.MaxBytes-t.bytes)
	if err != nil {
		return protocompile.SearchResult{}, err
	}
	if t.bytes += len(text); t.bytes > limits.MaxBytes {
		return protocompile.SearchResult{}, over("bytes", limits.MaxBytes)
	}
	if err := scan(path, text, &t.tally); err != nil {
		return protocompile.SearchResult{}, err
	}
	return protocompile.SearchResult{Source: bytes.NewReader(text)}, nil
}

// compile compiles the files of those paths and gives them and what they
// import. Faults begin with "path:line:column:", and several may be told.
func (t *texts) compile(ctx context.Context, paths []string) ([]*descriptorpb.FileDescriptorProto, error) {
	var faults faults
	c := protocompile.Compiler{Resolver: t, Reporter: reporter.NewReporter(faults.add, nil)}
	files, err := c.Compile(ctx, paths...)
	if err != nil {
		return nil, faults.with(err)
	}
	var list []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	var add func(linker.File)
	add = func(f linker.File) {
		if _, ok := standard(f.Path()); ok || seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		list = append(list, protoutil.ProtoFromFileDescriptor(f))
		for i := range f.Imports().Len() {
			add(f.FindImportByPath(f.Imports().Get(i).Path()))
		}
	}
	for _, f := range files {
		add(f)
	}
	return list, nil
}

// faults are what a compiler found.
type faults struct {
	mu   sync.Mutex
	list []reporter.ErrorWithPos
}

// add makes the compiler go on until there are enough.
func (f *faults) add(err reporter.ErrorWithPos) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, err)
	if len(f.list) >= maxFaults {
		return err
	}
	return nil
}

// with makes one error of all faults, in the order of files and lines, and of
// what ended the compilation.
func (f *faults) with(end error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var panicked protocompile.PanicError
	switch {
	case errors.As(end, &panicked):
		return fmt.Errorf("%s: the compiler panicked: %v", panicked.File, panicked.Value)
	case len(f.list) == 0:
		return end
	}
	sort.SliceStable(f.list, func(i, j int) bool {
		p, q := f.list[i].GetPosition(), f.list[j].GetPosition()
		return cmp.Or(cmp.Compare(p.Filename, q.Filename), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Col, q.Col)) < 0
	})
	var all []error
	for _, one := range f.list[:min(len(f.list), maxFaults)] {
		all = append(all, one)
	}
	if !errors.Is(end, reporter.ErrInvalidSource) && !slices.ContainsFunc(all, func(e error) bool { return e.Error() == end.Error() }) {
		all = append(all, end)
	}
	return errors.Join(all...)
}

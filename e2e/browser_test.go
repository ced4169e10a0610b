package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browserPage is a page in headless Chromium, and what went wrong in it.
type browserPage struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	faults []string
}

// newBrowser runs Chromium for a test. The context is that of the browser.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		need(t, fmt.Errorf("%w: install the Debian package chromium", err))
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()))
	// Names below .test lead to this machine, as a hostile one can be made to.
	options = append(options, chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1"))
	if os.Getuid() == 0 { // Chromium's own sandbox does not work for root
		options = append(options, chromedp.NoSandbox)
	}
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// visit opens an instance's dashboard in a tab of its own.
func visit(t *testing.T, browser context.Context, in *instance) *browserPage {
	t.Helper()
	p := &browserPage{t: t}
	ctx, end := chromedp.NewContext(browser)
	t.Cleanup(end)
	p.ctx = ctx
	p.do(chromedp.Steps()) // the tab has to be there
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		t.Fatal(err)
	}
	p.do(chromedp.Navigate(in.url + "/dashboard"))
	return p
}

// listen notes whatever a browser's console would show in red.
func (p *browserPage) listen(event any) {
	fault := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		fault = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			fault += " " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		fault = fmt.Sprint("console ", e.Type)
	case *log.EventEntryAdded: // refused by the policy, among others
		fault = e.Entry.Text + " " + e.Entry.URL
	case *network.EventLoadingFailed:
		if !e.Canceled {
			fault = e.ErrorText
		}
	}
	if fault != "" {
		p.mu.Lock()
		p.faults = append(p.faults, fault)
		p.mu.Unlock()
	}
}

// clean fails the test where something went wrong that is not expected.
func (p *browserPage) clean(expected string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		if expected == "" || !strings.Contains(f, expected) {
			p.t.Errorf("in the browser: %s", f)
		}
	}
}

func (p *browserPage) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// js gives what an expression in the page is, as text.
func (p *browserPage) js(expression string) string {
	p.t.Helper()
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return text
}

// text gives the text that is to be seen of an element, "" where it is not.
func (p *browserPage) text(selector string) string {
	p.t.Helper()
	return p.js(fmt.Sprintf("document.querySelector(%q)?.checkVisibility() ? document.querySelector(%[1]q).innerText : ''", selector))
}

// await waits until an expression in the page is true. While a page goes and the
// next one comes there is no answer.
func (p *browserPage) await(what, expression string) {
	p.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		is, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && is {
			return
		}
		if time.Now().After(end) {
			p.shoot("late")
			p.t.Fatalf("%s: not in time (%v); the page says: %s", what, err, p.text("body"))
		}
	}
}

// shoot leaves a picture of the whole page with the test's artifacts, which
// go test -artifacts keeps.
func (p *browserPage) shoot(name string) {
	p.t.Helper()
	b, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(p.t.ArtifactDir(), name+".png"), b, 0o644)
	}
	if err != nil {
		p.t.Error(err)
	}
}

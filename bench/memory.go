package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// memory prints what the proxies take when idle and per open stream.
func (l *lab) memory(ctx context.Context) error {
	fmt.Printf("\n%-44s %14s %14s\n", "", "nginx", "sluice")
	fmt.Printf("%-44s %14s %14s\n", "start to first answer", l.nginx.firstReply.Round(time.Millisecond), l.sluice.firstReply.Round(time.Millisecond))

	// A fresh process each, since load leaves its mark on a heap.
	stop(l.nginx.cmd)
	stop(l.sluice.cmd)
	nginx, err := l.startNginx(ctx)
	if err != nil {
		return err
	}
	l.nginx = nginx
	sluice, err := l.startSluice(ctx)
	if err != nil {
		return err
	}
	l.sluice = sluice
	var idle, each [2]float64
	var ttft [2]time.Duration
	for i, p := range []*proxy{l.nginx, l.sluice} {
		before := residentKiB(p.cmd.Process.Pid)
		p99, during, err := l.openStreams(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		idle[i], each[i], ttft[i] = before/1024, (during-before)/float64(l.streams), p99
	}
	fmt.Printf("%-44s %14.1f %14.1f\n", "resident when idle, MiB", idle[0], idle[1])
	fmt.Printf("%-44s %14.1f %14.1f\n", fmt.Sprintf("resident per open stream at %d, KiB", l.streams), each[0], each[1])
	fmt.Printf("%-44s %14s %14s\n", "time to first event p99", ttft[0].Round(time.Millisecond), ttft[1].Round(time.Millisecond))
	return nil
}

// openStreams holds plan.streams streams open and returns the 99th percentile
// of the time to their first events, and the proxy's resident size when all
// have been open for some seconds.
func (l *lab) openStreams(ctx context.Context, p *proxy) (p99 time.Duration, kib float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body := strings.Replace(chatBody(true), model1KB, modelSlow, 1)
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var first []time.Duration
	var fail error
	var opened, readers sync.WaitGroup
	slots := make(chan struct{}, 64) // opening at once
	for range l.streams {
		slots <- struct{}{}
		opened.Add(1)
		readers.Go(func() {
			begin := time.Now()
			resp, r, err := openStream(ctx, client, p.addr, body)
			mu.Lock()
			first = append(first, time.Since(begin))
			fail = errors.Join(fail, err)
			mu.Unlock()
			<-slots
			opened.Done()
			if err == nil {
				io.Copy(io.Discard, r)
				resp.Body.Close()
			}
		})
	}
	opened.Wait()
	if fail != nil {
		return 0, 0, fail
	}
	select {
	case <-time.After(5 * time.Second):
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	kib = residentKiB(p.cmd.Process.Pid)
	cancel()
	readers.Wait()
	slices.Sort(first)
	return first[len(first)*99/100], kib, nil
}

func openStream(ctx context.Context, client *http.Client, addr, body string) (*http.Response, *bufio.Reader, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+addr+chatPath, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+apiKey)
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	r := bufio.NewReaderSize(resp.Body, 512)
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data:") {
		resp.Body.Close()
		return nil, nil, fmt.Errorf("first event: status %d, %q, %w", resp.StatusCode, line, err)
	}
	return resp, r, nil
}

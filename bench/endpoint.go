package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"sluice/bench/process"
)

const (
	decodePath  = "/v1/protobuf/decode?type=" + chatType
	wireContent = "application/x-protobuf"
)

// transcodingLab is a lab whose Sluice knows the shapes, transcodes every
// message anew and answers chats from memory.
func transcodingLab(ctx context.Context, p *plan) (*lab, error) {
	schema, err := filepath.Abs("../internal/protobuf/testdata/shapes.proto")
	if err != nil {
		return nil, err
	}
	s := caching(proxied, 4*manyKeys)
	s.sections += fmt.Sprintf("protobuf: {schemas: [%q], result_cache_bytes: 0}\n", schema)
	return labWith(ctx, p, s)
}

// endpoint prints what decoding costs the process beside what answering from
// memory does, which reads a request and writes a reply too.
func endpoint(ctx context.Context, w io.Writer, p plan) error {
	lab, err := transcodingLab(ctx, &p)
	if err != nil {
		return err
	}
	defer lab.close()
	wire, text, err := forms(chat(0))
	if err != nil {
		return err
	}
	sluice := lab.sluices()[0]
	if err := decodes(ctx, sluice.addr, wire, text); err != nil {
		return err
	}
	if err := lab.fill(ctx, manyKeys, model2KB); err != nil {
		return err
	}
	loads := []load{
		{name: "chat from memory, 600 B in, 2 kB out", body: keyedBody(model2KB, 0)},
		{name: "decode, 2 kB in, 2.4 kB out", body: string(wire), path: decodePath, contentType: wireContent},
	}
	var cpu, rate [2][]float64
	for range p.rounds {
		for i, ld := range loads {
			m, err := lab.measure(ctx, sluice, ld)
			if err != nil {
				return fmt.Errorf("%s: %w", ld.name, err)
			}
			cpu[i], rate[i] = append(cpu[i], m.cpu), append(rate[i], m.rate)
		}
	}
	times := ratio(cpu[1], cpu[0])
	fmt.Fprintln(w, "| sluice on one CPU | CPU µs a request | ratio | requests/s |")
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: |")
	fmt.Fprintf(w, "| %s | %.1f | | %.0f |\n", loads[0].name, median(cpu[0]), median(rate[0]))
	_, err = fmt.Fprintf(w, "| %s | %.1f | %.2f | %.0f |\n", loads[1].name, median(cpu[1]), times, median(rate[1]))
	return err
}

// decodes makes sure that a server decodes a chat.
func decodes(ctx context.Context, addr string, wire, text []byte) error {
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+addr+decodePath, bytes.NewReader(wire))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", wireContent)
	req.Header.Set("Authorization", "Bearer "+process.APIKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !sameJSON(got, text)) {
		err = fmt.Errorf("decode: status %d, %s", resp.StatusCode, got[:min(len(got), 400)])
	}
	return err
}

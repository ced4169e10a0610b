package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ulikunitz/xz"
)

// sample is values to count, all above 1 µs.
type sample struct {
	name   string
	values []float64
}

// arrivals is a trace of requests to a language model for code (Patel et al.,
// "Splitwise", 2024).
const arrivals = "traces-azure/AzureLLMInferenceTrace_code.csv.xz"

// distributions gives drawn and recorded values.
func distributions(data string) ([]sample, error) {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(f func() float64) (values []float64) {
		for range 20_000 {
			values = append(values, f())
		}
		return values
	}
	packed, err := os.ReadFile(filepath.Join(data, arrivals))
	if err != nil {
		return nil, fmt.Errorf("%w: name the folder that has traces-azure with -traces", err)
	}
	unpacked, err := xz.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", arrivals, err)
	}
	gaps, tokens, err := readArrivals(unpacked)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", arrivals, err)
	}
	return []sample{
		// As a model answers: 0.4 s, and 20 s in one of 20,000.
		{"lognormal", draw(func() float64 { return math.Exp(r.NormFloat64() - 1) })},
		// As a cache does: hits of 50 µs, misses of 2 s.
		{"bimodal", draw(func() float64 {
			if r.Float64() < 0.6 {
				return 50e-6 * math.Exp(r.NormFloat64()/4)
			}
			return 2 * math.Exp(r.NormFloat64()/2)
		})},
		{"gaps between arrivals", gaps},
		{"tokens of prompts", tokens},
	}, nil
}

// readArrivals gives the times between requests, in seconds, of those above 1 µs,
// and the tokens of their prompts.
func readArrivals(r io.Reader) (gaps, tokens []float64, err error) {
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, nil, err
	}
	var last time.Time
	for _, row := range rows[min(1, len(rows)):] { // without the head
		at, err := time.Parse("2006-01-02 15:04:05.9999999", row[0])
		if err != nil {
			return nil, nil, err
		}
		n, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			return nil, nil, err
		}
		tokens = append(tokens, n)
		if gap := at.Sub(last); !last.IsZero() && gap > time.Microsecond {
			gaps = append(gaps, gap.Seconds())
		}
		last = at
	}
	if len(gaps) == 0 {
		return nil, nil, fmt.Errorf("there are no two requests")
	}
	return gaps, tokens, nil
}

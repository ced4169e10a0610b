package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// setText sets v from the text of a YAML scalar, an environment variable or a
// flag. sized says that v is a number of bytes, which may be given as "32MiB".
func setText(v reflect.Value, text string, sized bool) error {
	if isDuration(v.Type()) {
		d, err := parseDuration(text)
		if err == nil {
			v.SetInt(int64(d))
		}
		return err
	}
	if fromText(v.Type()) {
		return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		return setBool(v, text)
	case reflect.Int, reflect.Int64:
		n, err := parseInt(text, sized)
		if err != nil {
			return err
		}
		if v.OverflowInt(n) {
			return fmt.Errorf("%s is too large", text)
		}
		v.SetInt(n)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%q is not a number", text)
		}
		v.SetFloat(f)
	default:
		return errors.New("cannot be set from text")
	}
	return nil
}

// setBool takes the words of YAML 1.2, and 1 and 0 as is usual in an
// environment. It does not take "yes" and "on", which YAML 1.2 reads as text.
func setBool(v reflect.Value, text string) error {
	switch strings.ToLower(text) {
	case "true", "1":
		v.SetBool(true)
	case "false", "0":
		v.SetBool(false)
	default:
		return fmt.Errorf("%q is neither true nor false", text)
	}
	return nil
}

func parseInt(text string, sized bool) (int64, error) {
	digits, unit := text, int64(1)
	if sized {
		for i, suffix := range [...]string{"KiB", "MiB", "GiB"} {
			if s, ok := strings.CutSuffix(text, suffix); ok {
				digits, unit = strings.TrimSpace(s), 1<<(10*(i+1))
			}
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s is too large", text)
	case err != nil && sized:
		return 0, fmt.Errorf("%q is not a number of bytes, as 65536 or 64KiB", text)
	case err != nil:
		return 0, fmt.Errorf("%q is not a whole number", text)
	case n > math.MaxInt64/unit || n < math.MinInt64/unit:
		return 0, fmt.Errorf("%s is too large", text)
	}
	return n * unit, nil
}

// parseDuration reads "90s" and "1m30s", or a plain number of seconds.
func parseDuration(text string) (time.Duration, error) {
	if s, err := strconv.ParseFloat(text, 64); err == nil {
		// The float nearest to the largest Duration lies above it.
		if ns := s * float64(time.Second); math.Abs(ns) < math.MaxInt64 {
			return time.Duration(math.Round(ns)), nil
		}
		return 0, fmt.Errorf("%s is not a time in seconds that can be kept", text)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time, as 500ms, 60s or 1m30s, or a number of seconds", text)
	}
	return d, nil
}

// formatDuration gives the shortest text that parseDuration reads back: "60s"
// stays "60s" and is not made "1m0s".
func formatDuration(d time.Duration) string {
	switch {
	case d%time.Second == 0:
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	case d%time.Millisecond == 0:
		return strconv.FormatInt(int64(d/time.Millisecond), 10) + "ms"
	default:
		return d.String()
	}
}

// formatBytes gives the shortest text that parseInt reads back exactly.
func formatBytes(n int64) string {
	for i, suffix := range [...]string{"GiB", "MiB", "KiB"} {
		if unit := int64(1) << (30 - 10*i); n != 0 && n%unit == 0 {
			return strconv.FormatInt(n/unit, 10) + suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

// sized reports whether the key at path holds a number of bytes.
func sized(path string) bool { return strings.HasSuffix(path, "_bytes") }

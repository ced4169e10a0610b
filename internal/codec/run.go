package codec

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"sluice/internal/llm"
	"sluice/internal/protobuf"
	"sluice/internal/protobuf/catalog"
	"sluice/internal/protobuf/schema"
)

// RunOptions are what Run needs besides its arguments. Of Config the bounds hold.
type RunOptions struct {
	Config  Config
	Options protobuf.Options
}

// Run is the command line's encode and decode: it reads messages of a type from in
// and writes their other form to out. The schema's paths are read together; with none there are the well-known types. It is
// one message, with a line end after it where that is JSON. Delimited, binary
// messages have their length before them as a varint, and JSON is one message a
// line. What was written before an error is whole messages.
//
// When ctx ends, Run does after the message that it is at or waits for.
func Run(ctx context.Context, d Direction, schemaPaths []string, typeName string, delimited bool, in io.Reader, out io.Writer, o RunOptions) error {
	cfg := o.Config
	cfg.Workers, cfg.ResultCacheBytes = 1, 0
	bounds := catalog.Default()
	schemas, err := catalog.New(ctx, bounds, catalog.Options{})
	if err != nil {
		return err
	}
	c, err := New(cfg, Options{Schemas: schemas})
	if err != nil {
		return err
	}
	defer c.Close()
	name := "" // all that there are
	if len(schemaPaths) > 0 {
		s, err := schema.Load(ctx, schema.Source{Name: "schema", Locations: schemaPaths}, schema.Limits{MaxBytes: bounds.MaxSchemaBytes})
		if err != nil {
			return err
		}
		if err := schemas.Add(s); err != nil {
			return err
		}
		name = s.Name
	}
	if _, err := schemas.Find(name, typeName); err != nil {
		if name == "" {
			return fmt.Errorf("%w: give its schema (--schema)", err)
		}
		return err
	}
	t, err := c.find(typeName, name)
	if err != nil {
		return err
	}
	r := &runner{c: c, out: bufio.NewWriter(out), delimited: delimited,
		m: message{target: t, direction: d, options: o.Options, limit: cfg.MaxOutputBytes}}
	switch {
	case !delimited:
		err = r.one(in)
	case d == Decode:
		err = r.frames(ctx, in)
	default:
		err = r.lines(ctx, in)
	}
	if err := r.out.Flush(); err != nil {
		return fmt.Errorf("write messages: %w", err)
	}
	if err != nil && delimited {
		return fmt.Errorf("message %d: %w", r.count+1, plain(err))
	}
	return plain(err)
}

// plain is an error without what only a client of the API understands.
func plain(err error) error {
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return errors.New(e.Message)
	}
	return err
}

type runner struct {
	c         *Codec
	m         message
	out       *bufio.Writer
	delimited bool
	count     int // messages done
	reply     []byte
}

// write does one message.
func (r *runner) write(data []byte) (err error) {
	if r.reply, err = r.c.transcodeAnew(r.reply[:0], data, &r.m); err != nil {
		return err
	}
	if r.m.direction == Decode {
		r.reply = append(r.reply, '\n')
	} else if r.delimited {
		_, _ = r.out.Write(binary.AppendUvarint(nil, uint64(len(r.reply)))) // Flush gives its error
	}
	_, err = r.out.Write(r.reply)
	r.count++
	return err
}

func (r *runner) one(in io.Reader) error {
	most := r.c.cfg.MaxInputBytes
	data, err := io.ReadAll(io.LimitReader(in, int64(most)+1))
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	if len(data) > most {
		return errBody(most)
	}
	return r.write(data)
}

func (r *runner) frames(ctx context.Context, in io.Reader) error {
	f := &frames{max: r.c.cfg.MaxInputBytes}
	buf := make([]byte, readBytes)
	for {
		n, err := in.Read(buf)
		if e := f.put(buf[:n]); e != nil {
			return e
		}
		for {
			data, ok, e := f.next()
			if e == nil {
				e = ctx.Err()
			}
			if e != nil {
				return e
			}
			if !ok {
				break
			}
			if e := r.write(data); e != nil {
				return e
			}
		}
		if errors.Is(err, io.EOF) {
			return f.rest()
		}
		if err == nil {
			err = r.out.Flush()
		}
		if err != nil {
			return err
		}
	}
}

// lines passes over lines that are blank.
func (r *runner) lines(ctx context.Context, in io.Reader) error {
	s := bufio.NewScanner(in)
	s.Buffer(nil, r.c.cfg.MaxInputBytes+2) // a line end
	for s.Scan() {
		if err := ctx.Err(); err != nil {
			return err
		}
		line := bytes.TrimSpace(s.Bytes())
		if len(line) == 0 {
			continue
		}
		if err := r.write(line); err != nil {
			return err
		}
		if err := r.out.Flush(); err != nil {
			return err
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return errBody(r.c.cfg.MaxInputBytes)
	}
	return s.Err()
}

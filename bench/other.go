//go:build !linux

package main

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// What follows is there so that the rest can be built and tested elsewhere.

var errLinux = errors.New("this takes Linux")

type leanMock struct{}

func newLeanMock(netip.AddrPort, int) (*leanMock, error) { return nil, errLinux }
func (*leanMock) run() error                             { return errLinux }

type openStreams struct{ first []time.Duration }

func openMany(context.Context, target, int) (*openStreams, error) { return nil, errLinux }
func (*openStreams) read(context.Context, time.Duration) error    { return errLinux }
func (*openStreams) close()                                       {}

func drive(context.Context, []source, *int, uint64, time.Duration, ...moment) ([]call, error) {
	return nil, errLinux
}

func raiseFiles() (uint64, error) { return 0, errLinux }

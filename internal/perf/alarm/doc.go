// Package alarm tells a person when a figure crosses a threshold: in the log, in
// health, in the figures themselves, and over webhooks.
//
// It promises that one bad moment raises nothing (a rule has a window, a least
// number of samples, and a time for which it must hold), that a value which
// wavers about a threshold raises one alarm and not many (it clears at another
// value than it is raised at), and that nothing is judged that is not known: no
// data raises nothing. A webhook that is slow, dead or hostile delays and costs
// nothing else, and gets no more memory than a full queue takes.
//
// Which figures there are it does not know: a rule names one as /metrics does,
// without "sluice_".
package alarm

package day

import (
	"container/heap"
	"context"
	"time"
)

// agenda is what is still to happen, in the order of time; what is planned for
// the same moment happens in the order in which it was planned.
type agenda struct {
	list entries
	n    int
}

type entry struct {
	at time.Time
	n  int
	do func(context.Context) error
}

// plan puts something on the agenda; it may do so while it happens.
func (a *agenda) plan(at time.Time, do func(context.Context) error) {
	a.n++
	heap.Push(&a.list, entry{at, a.n, do})
}

// next takes the next thing off the agenda.
func (a *agenda) next() (entry, bool) {
	if len(a.list) == 0 {
		return entry{}, false
	}
	return heap.Pop(&a.list).(entry), true
}

// entries implements [heap.Interface].
type entries []entry

func (e entries) Len() int { return len(e) }

func (e entries) Less(i, j int) bool {
	if !e[i].at.Equal(e[j].at) {
		return e[i].at.Before(e[j].at)
	}
	return e[i].n < e[j].n
}

func (e entries) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *entries) Push(x any)   { *e = append(*e, x.(entry)) }

func (e *entries) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

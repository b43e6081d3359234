// What a program passes to sched_yield to mark a place for counter.c; the kernel reads no argument of that call.
#pragma once
enum { MARK = 0x6d61726b };

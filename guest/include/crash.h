/* For programs that die of a memory access: they say where the fault will be. */
#pragma once
#include "guest.h"

/* "fault at: 0x..." lets a test compare si_addr with what the program knew. */
static inline void announce(const volatile void *p) { show("fault at", (unsigned long)p); }

/* Hide a value from the compiler, which knows too well what a null pointer is. */
#define OPAQUE(pointer) ({ __typeof__(pointer) p_ = (pointer); __asm__ volatile("" : "+r"(p_)); p_; })

/* Keep a whole array in the frame: the compiler would keep only the bytes that are used. */
#define KEEP(array) __asm__ volatile("" :: "r"(array) : "memory")

/*
 * Named fault points, to show that a protection protects: a build with SMIG_FAULTS reads the environment variable
 * SMIG_FAULT (names separated by commas). In any other build every point is false and costs nothing.
 *   lock-condition      the lock is taken whoever holds it
 *   leftovers           commands of a dead run are not ended
 *   early-take-over     a holder counts as dead without proof
 */
#ifndef SMIG_CORE_FAULT_H
#define SMIG_CORE_FAULT_H

#ifdef SMIG_FAULTS
int smig_fault(const char *name);
#else
#define smig_fault(name) 0
#endif

#endif

"""The decision behind a refused fault, rebuilt on a copy.

Model only.  The words of this room, each for one thing, in the order in which they come about::

    FaultEvent      the record of a fault: what was accessed, what was there, every check with its operands, the result
    evidence        what only a refused fault's record has: snapshot of the map, registers, code and stack (emu.dump)
    TrapSignal      the signal that it became, with its code (kernel_model.kern.trap)
    refusal         the check of the record that said no
    Cause           who changed a map: a system call, a fault, a signal, execve (kernel_model.ktrace)
    Blame           the changes of a map with their causes; asked for an address it gives an Answer
    Case            one refused fault and what is needed to explain it: record, instruction, names, blame
    Diagnosis       what is wrong with the program: one word (``kind``) and one line
    Decision        what the kernel decides in a map: once in the record, again on a Replica, whatever was changed there
    Counterfactual  a change with which the access would have succeeded, and the Decision that proves it
    Verdict         Case, Diagnosis and Counterfactuals together: what people read

Modules, bottom first: replica, blame, case, counterfactual, diagnosis, verdict, reproducer.
"""

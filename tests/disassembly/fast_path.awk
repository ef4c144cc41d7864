# Judges the fast path of one function from its disassembly (x86-64, AT&T syntax):
#
#   objdump -d --no-show-raw-insn --disassemble=NAME FILE |
#     awk -v kind=cons|set_car -v gc_byte_offset=N -v field_offset=8 -f fast_path.awk
#
# The fast path is the way from the entry to `ret` that calls nothing and does the deed. Every way
# through the function is tried; one that calls, or that jumps out of it, is a slow path. Along the
# fast path registers are followed symbolically: a value is what a register held at the entry, or
# what was loaded from where, plus a constant. Memory is then known by role, whatever registers are
# used.
#
# cons: the deed is the store of the bumped cursor: what was loaded from [M+c], plus a size, goes
#   back to [M+c]. The allocation sequence is that store, the branches before it, and what both
#   depend on: the load of the mutator pointer, the load of the cursor, the addition, the comparison
#   with the limit at [M+c+8]. Copies between registers belong to the client's register allocation
#   and don't count. At most 6 instructions; the fast path may touch the mutator pointer, the pair,
#   the new object and the stack, no other memory.
#
# set_car: the deed is the store into the slot, at [o+f]. The barrier is the test of the byte that
#   is the object's GC byte, and whatever depends on it: at most 2 instructions. The fast path may
#   touch the object and the stack, no other memory.

function fail(message) {
  print name ": FAILED: " message
  for (i = 1; i <= best_length; i++) print "    " text[best[i]]
  failed = 1
  exit 1
}

function number(digits,    value, i, negative) {
  negative = digits ~ /^-/
  sub(/^-?/, "", digits)
  if (digits !~ /^0x/) return negative ? -digits : digits + 0
  value = 0
  for (i = 3; i <= length(digits); i++)
    value = value * 16 + index("0123456789abcdef", substr(digits, i, 1)) - 1
  return negative ? -value : value
}

# The 64-bit name of a register, or "" for something else.
function whole_register(operand,    r) {
  if (operand !~ /^%/) return ""
  r = substr(operand, 2)
  if (r ~ /^r[0-9]+[dwb]?$/) { sub(/[dwb]$/, "", r); return r }
  if (r ~ /^(r|e)?(ax|bx|cx|dx|si|di|bp|sp)$/) { sub(/^[re]/, "", r); return "r" r }
  if (r ~ /^[abcd][lh]$/) return "r" substr(r, 1, 1) "x"
  if (r ~ /^(si|di|bp|sp)l$/) return "r" substr(r, 1, 2)
  return r # vector registers and the like
}

function is_memory(operand) { return operand != "" && operand !~ /^[$%]/ || operand ~ /^%[c-g]s:/ }
function is_64_bit(operand) { return operand ~ /^%r([a-z]+|[0-9]+)$/ }
function is_8_bit(operand) { return operand ~ /^%([abcd][lh]|(si|di|bp|sp)l|r[0-9]+b)$/ }

# Splits at commas outside of parentheses; fills operand[address, 1..] and operand_count[address].
function split_operands(address, list,    i, c, depth, current, count) {
  depth = count = 0
  current = ""
  for (i = 1; i <= length(list); i++) {
    c = substr(list, i, 1)
    if (c == "(") depth++
    if (c == ")") depth--
    if (c == "," && depth == 0) { operand[address, ++count] = current; current = "" }
    else current = current c
  }
  if (current != "") operand[address, ++count] = current
  operand_count[address] = count
}

# ---- reading -------------------------------------------------------------------------------

/^[0-9a-f]+ <.*>:$/ { name = $2; gsub(/[<>:]/, "", name) }

/^ *[0-9a-f]+:\t/ {
  address = $1
  sub(/:$/, "", address)
  line = $0
  sub(/^ *[0-9a-f]+:[ \t]*/, "", line)
  sub(/ *#.*$/, "", line)
  text[address] = line
  while (line ~ /^(lock|rep|repz|repnz|bnd|notrack|data16|cs|ds) /) sub(/^[a-z0-9]+ +/, "", line)
  mnemonic[address] = line
  sub(/ .*$/, "", mnemonic[address])
  rest = line
  if (!sub(/^[^ ]+ +/, "", rest)) rest = ""
  if (mnemonic[address] ~ /^(j|call)/) { target[address] = rest; sub(/ .*$/, "", target[address]) }
  else split_operands(address, rest)
  if (previous != "") following[previous] = address
  else entry = address
  previous = address
}

# ---- ways through the function -------------------------------------------------------------------

# Tries every way on from `address`; way[1..length_so_far] led here.
function explore(address, length_so_far,    m) {
  if (!(address in mnemonic) || on_way[address] || ways > 4096) return
  m = mnemonic[address]
  if (m ~ /^call/) return
  way[++length_so_far] = address
  on_way[address] = 1
  if (m ~ /^ret/) { ways++; judge_way(length_so_far) }
  else if (m ~ /^jmp/) explore(target[address], length_so_far)
  else {
    explore(following[address], length_so_far)
    if (m ~ /^j/) explore(target[address], length_so_far)
  }
  on_way[address] = 0
}

# Keeps the shortest way that does the deed.
function judge_way(count,    i) {
  if (best_length && count >= best_length) return
  follow(way, count)
  if (!deed_at) return
  best_length = count
  for (i = 1; i <= count; i++) best[i] = way[i]
}

# ---- following values ------------------------------------------------------------------------

function read_register(step, r) {
  if (r != "" && (r in writer)) depends[step] = depends[step] " " writer[r]
}

# Notes the registers of an address; sets address_base and address_offset.
function take_address(step, memory,    inside, part, count) {
  address_base = "unknown address"
  address_offset = 0
  if (memory ~ /^%[c-g]s:/) { address_base = "thread-local"; return }
  if (memory !~ /\(/) { address_base = "global"; address_offset = number(memory); return }
  address_offset = number(substr(memory, 1, index(memory, "(") - 1))
  inside = memory
  sub(/^[^(]*\(/, "", inside)
  sub(/\)$/, "", inside)
  count = split(inside, part, ",")
  if (part[1] == "%rip") { address_base = "global"; return }
  read_register(step, whole_register(part[1]))
  if (count > 1) { read_register(step, whole_register(part[2])); address_base = "indexed"; return }
  address_base = base[whole_register(part[1])]
  address_offset += offset[whole_register(part[1])]
}

function access(step, what, width) {
  accesses++
  access_step[accesses] = step
  access_what[accesses] = what
  access_base[accesses] = address_base
  access_offset[accesses] = address_offset
  access_width[accesses] = width
}

function set_register(step, r, new_base, new_offset) {
  base[r] = new_base
  offset[r] = new_offset
  writer[r] = step
}

# Follows the values along a way and finds the deed.
function follow(steps, count,    i, n, a, m, last, r, source, copies, reads_last, width, key, j) {
  split("", base); split("", offset); split("", writer); split("", depends); split("", is_copy)
  accesses = 0
  deed_at = 0
  flags_writer = 0
  n = split("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15", key, " ")
  for (i = 1; i <= n; i++) { base[key[i]] = "entry:" key[i]; offset[key[i]] = 0 }

  for (i = 1; i <= count; i++) {
    a = steps[i]
    m = mnemonic[a]
    n = operand_count[a]
    last = n > 0 ? operand[a, n] : ""
    depends[i] = ""
    if (m ~ /^(nop|endbr|ret|jmp)/) continue
    if (m ~ /^j/) { depends[i] = " " flags_writer; is_branch[i] = 1; continue }
    is_branch[i] = 0

    if (m ~ /^push/) { read_register(i, whole_register(last)); continue }
    if (m ~ /^pop/) { set_register(i, whole_register(last), "popped:" i, 0); continue }

    source = n > 1 ? operand[a, 1] : ""
    compares = m ~ /^(cmp|test|bt|ucomi|comi)/
    copies = m ~ /^(v?mov|lea)/ && m !~ /^movhp/
    reads_last = !copies && !(m ~ /^xor/ && source == last)
    width = (m ~ /^(testb|cmpb|movb|orb|andb|xorb|movzb|movsb|bt)/ || is_8_bit(source) ||
             is_8_bit(last)) ? 1 : 8
    if (m ~ /^(cmov|set|adc|sbb)/) depends[i] = depends[i] " " flags_writer

    # Operands that are read.
    for (j = 1; j <= n; j++) {
      if (j == n && !reads_last && !is_memory(last)) break
      if (is_memory(operand[a, j])) {
        take_address(i, operand[a, j])
        if (m !~ /^lea/)
          access(i, j == n && !compares && n > 1 ? "store" : "load", width)
      } else if (!(m ~ /^xor/ && source == last)) read_register(i, whole_register(operand[a, j]))
    }

    # What is written.
    r = whole_register(last)
    if (is_memory(last) && m ~ /^movq?$/) {
      take_address(i, last)
      look_for_deed(i, source)
    } else if (r != "" && !compares) {
      if (m ~ /^(mov|movq|movabs)$/ && is_64_bit(source) && is_64_bit(last)) {
        is_copy[i] = 1
        set_register(i, r, base[whole_register(source)], offset[whole_register(source)])
      } else if (m ~ /^movq?$/ && is_memory(source) && is_64_bit(last)) {
        take_address(i, source)
        set_register(i, r, "[" address_base "+" address_offset "]", 0)
      } else if (m ~ /^lea/ && is_64_bit(last)) {
        take_address(i, source)
        if (address_base ~ /^(global|indexed|unknown)/) set_register(i, r, "computed:" i, 0)
        else set_register(i, r, address_base, address_offset)
      } else if (m ~ /^(add|sub)q?$/ && source ~ /^\$/ && is_64_bit(last)) {
        set_register(i, r, base[r], offset[r] + (m ~ /^a/ ? 1 : -1) * number(substr(source, 2)))
      } else set_register(i, r, "computed:" i, 0)
    }
    if (m ~ /^(add|sub|and|or|xor|inc|dec|neg|sh[lr]|sa[lr]|imul|adc|sbb)/ || compares)
      flags_writer = i
  }
}

# A store of `source` to address_base + address_offset: is it the deed?
function look_for_deed(step, source,    r) {
  if (kind == "cons") {
    r = whole_register(source)
    if (r == "" || deed_at) return
    if (base[r] != "[" address_base "+" address_offset "]" || offset[r] <= 0) return
    object = base[r]
    size = offset[r]
  } else {
    if (address_base ~ /^(entry:rsp|global|indexed|thread|unknown)/) return
    object = address_base
    header = address_offset - field_offset
  }
  deed_at = step
  pair = address_base
  pair_offset = address_offset
}

# ---- judging -----------------------------------------------------------------------------------

function role(i) {
  if (access_base[i] == "entry:rsp") return "stack"
  if (kind == "set_car") {
    if (access_base[i] == object && access_offset[i] >= header &&
        access_offset[i] < header + field_offset + 8) return "object"
    return ""
  }
  if (access_base[i] == pair && access_offset[i] == pair_offset) return "cursor"
  if (access_base[i] == pair && access_offset[i] == pair_offset + 8 && access_what[i] == "load")
    return "limit"
  if (access_base[i] == object && access_offset[i] >= 0 && access_offset[i] < size) return "object"
  if (access_what[i] == "load" && (access_base[i] ~ /^entry:/ || access_base[i] == "global") &&
      index(pair, "[" access_base[i] "+" access_offset[i] "]") == 1) return "mutator pointer"
  return ""
}

# Marks the steps that step `i` depends on.
function mark(i,    part, count, k) {
  if (i == 0 || marked[i]) return
  marked[i] = 1
  count = split(depends[i], part, " ")
  for (k = 1; k <= count; k++) mark(part[k] + 0)
}

function list_marked(what,    i) {
  counted = 0
  for (i = 1; i <= best_length; i++) if (marked[i] && !is_copy[i]) counted++
  printf "%s: %d instructions %s:\n", name, counted, what
  for (i = 1; i <= best_length; i++) if (marked[i] && !is_copy[i]) print "    " text[best[i]]
}

function judge_cons(    i, limit_checked) {
  mark(deed_at)
  for (i = 1; i < deed_at; i++) if (is_branch[i]) mark(i)
  for (i = 1; i <= accesses; i++)
    if (role(i) == "limit" && marked[access_step[i]]) limit_checked = 1
  if (!limit_checked) fail("no branch before the store of the cursor depends on the limit")
  list_marked("to the allocated pointer, of " deed_at " up to the store of the cursor")
  if (counted > 6) fail("the allocation sequence has " counted " instructions, not 6 or fewer")
}

function judge_set_car(    i, j, part, count, k, tested, branches) {
  for (i = 1; i <= accesses; i++)
    if (access_base[i] == object && access_offset[i] == header + gc_byte_offset &&
        access_width[i] == 1 && access_step[i] < deed_at) { marked[access_step[i]] = 1; tested = 1 }
  if (!tested) fail("the GC byte is not tested before the store")
  for (i = 1; i <= best_length; i++) {
    count = split(depends[i], part, " ")
    for (k = 1; k <= count; k++) if (marked[part[k] + 0]) marked[i] = 1
    if (marked[i] && is_branch[i] && i < deed_at) branches++
  }
  if (!branches) fail("no branch before the store depends on the GC byte")
  list_marked("beside the store for the barrier")
  if (counted > 2) fail("the barrier has " counted " instructions, not 2 or fewer")
}

END {
  if (failed) exit 1
  if (entry == "") { print "FAILED: no such function"; exit 1 }
  explore(entry, 0)
  if (!best_length)
    fail("no way without a call " \
         (kind == "cons" ? "bumps the cursor by a constant" : "stores into the slot"))
  follow(best, best_length)
  for (i = 1; i <= accesses; i++)
    if (role(i) == "")
      fail("the fast path touches memory that it should not: " text[best[access_step[i]]])
  if (kind == "cons") judge_cons()
  else judge_set_car()
}

; What holds of the definitions in numbers.smt2, for all 64-bit words. Each block is one theorem: it asserts the
; opposite, which must be impossible. Those that are called `control` are wrong on purpose, and must be possible.

(declare-const a W) (declare-const am W) (declare-const b W) (declare-const bm W)
(declare-const x W) (declare-const y W) (declare-const n W) (declare-const k W)
(declare-const c W) (declare-const d W)
(define-fun members () Bool (and (tnum a am) (tnum b bm) (has a am x) (has b bm y)))
(define-fun amount () Bool (bvult k #x0000000000000040))
; A span lies on one side of the sign bit.
(define-fun span ((lo W) (hi W)) Bool (and (bvule lo hi) (or (bvult hi sign) (bvuge lo sign))))
(define-fun spans () Bool (and (span a b) (within a b x) (span c d) (within c d y)))

; theorem: sums of members are members
(assert members)
(assert (not (has (add_value a am b bm) (add_mask a am b bm) (bvadd x y))))
; theorem: differences of members are members
(assert members)
(assert (not (has (sub_value a am b bm) (sub_mask a am b bm) (bvsub x y))))
; theorem: and
(assert members)
(assert (not (has (and_value a am b bm) (and_mask a am b bm) (bvand x y))))
; theorem: or
(assert members)
(assert (not (has (or_value a am b bm) (or_mask a am b bm) (bvor x y))))
; theorem: exclusive or
(assert members)
(assert (not (has (xor_value a am b bm) (xor_mask a am b bm) (bvxor x y))))
; theorem: left shifts
(assert (and members amount))
(assert (not (has (shl_value a k) (shl_value am k) (bvshl x k))))
; theorem: right shifts
(assert (and members amount))
(assert (not (has (shr_value a k) (shr_value am k) (bvlshr x k))))
; theorem: arithmetic right shifts
(assert (and members amount))
(assert (not (has (bvashr a k) (bvashr am k) (bvashr x k))))
; theorem: a join has the members of both
(assert members)
(assert (not (and (has (join_value a am b bm) (join_mask a am b bm) x)
                  (has (join_value a am b bm) (join_mask a am b bm) y))))
; theorem: a meet has exactly what both have
(assert (and (tnum a am) (tnum b bm)))
(assert (not (= (and (has a am x) (has b bm x))
                (and (meets a am b bm) (has (meet_value a am b bm) (meet_mask a am b bm) x)))))
; theorem: the bits of a range are those of all between
(assert (and (bvule a b) (within a b x)))
(assert (not (has (range_value a b) (range_mask a b) x)))
; theorem: the next member is one, and not before
(assert (and (tnum a am) (has_next a am n)))
(assert (not (and (has a am (next a am n)) (bvuge (next a am n) n))))
; theorem: no member lies between, and where there is said to be none there is none
(assert (and (tnum a am) (has a am x) (bvuge x n)))
(assert (not (and (has_next a am n) (bvule (next a am n) x))))
; theorem: going round, every word is inside
(assert (bvule (bvsub x a) b))
(assert (not (in_round a b x)))
; theorem: what is added to the starts of two spans is together no more than both widths, and goes round never
(assert (and (bvule x b) (bvule y d)))
(assert (not (bvule (bvadd x y) (both b d))))
; theorem: so a sum is as far from the sum of the starts
(assert (not (= (bvsub (bvadd x y) (bvadd a c)) (bvadd (bvsub x a) (bvsub y c)))))
; theorem: and a difference from that of the start and the end
(assert (not (= (bvsub (bvsub x y) (bvsub a d)) (bvadd (bvsub x a) (bvsub d y)))))
; theorem: a shifted distance is within the shifted width
(assert (and (bvule x b) amount))
(assert (not (bvule (bvshl x k) (wide b k))))
; theorem: and shifting keeps distances
(assert amount)
(assert (not (= (bvsub (bvshl x k) (bvshl a k)) (bvshl (bvsub x a) k))))
; theorem: spans shifted right keep their order
(assert (and spans amount))
(assert (not (and (within (bvlshr a k) (bvlshr b k) (bvlshr x k)) (within (bvashr a k) (bvashr b k) (bvashr x k)))))
; theorem: a dividend below every divisor is its own remainder
(assert (and (bvule x b) (bvult x c) (bvule c y)))
(assert (not (= (bvurem x y) x)))
; theorem: below another number is below its largest
(assert (and spans (bvult x y)))
(assert (not (and (bvult x d) (bvugt y a) (bvule x (bvsub d one)) (bvuge y (bvadd a one)))))
; theorem: a failed test of bits takes them away
(assert (and members (= (bvand x y) zero)))
(assert (not (has (bvand a (bvnot b)) (bvand am (bvnot b)) x)))
; control: sums without the carry
(assert members)
(assert (not (has (bvand (bvadd a b) (bvnot (bvor am bm))) (bvor am bm) (bvadd x y))))
; control: differences without the borrow
(assert members)
(assert (not (has (bvand (bvsub a b) (bvnot (bvor am bm))) (bvor am bm) (bvsub x y))))
; control: sums of spans that do not go round
(assert spans)
(assert (not (within (bvadd a c) (bvadd b d) (bvadd x y))))
; control: the least of two numbers' bits (DPDK 9ad7e6d9d4)
(assert spans)
(assert (not (bvuge (bvand x y) (bvand a c))))
; control: the least of either's bits (DPDK 9b4781582e)
(assert spans)
(assert (not (bvuge (bvor x y) (bvor a c))))
; control: unknown bits that a failed test takes away
(assert (and members (= (bvand x y) zero)))
(assert (not (has (bvand a (bvnot (bvor b bm))) (bvand am (bvnot (bvor b bm))) x)))
; control: one more word than there is
(assert (bvule (bvsub x a) (bvadd b one)))
(assert (not (in_round a b x)))

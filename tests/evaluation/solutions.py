"""Programs written by hand: for LeetCode by the number of the problem in the file, for MBPP with the problem itself."""

LEETCODE = {
    0: """
class Solution:
    def minimumPushes(self, word: str) -> int:
        return sum(i // 8 + 1 for i in range(len(word)))
""",
    24: """
class Solution:
    def numberGame(self, nums: List[int]) -> List[int]:
        nums = sorted(nums)
        for i in range(0, len(nums), 2):
            nums[i], nums[i + 1] = nums[i + 1], nums[i]
        return nums
""",
    32: """
class Solution:
    def findMissingAndRepeatedValues(self, grid: List[List[int]]) -> List[int]:
        cells = [cell for row in grid for cell in row]
        twice = next(cell for cell, times in Counter(cells).items() if times == 2)
        return [twice, (set(range(1, len(cells) + 1)) - set(cells)).pop()]
""",
    40: """
class Solution:
    def findIntersectionValues(self, nums1: List[int], nums2: List[int]) -> List[int]:
        first, second = set(nums1), set(nums2)
        return [sum(n in second for n in nums1), sum(n in first for n in nums2)]
""",
    57: """
class Solution:
    def minimumSteps(self, s: str) -> int:
        steps = black = 0
        for ball in s:
            if ball == "1":
                black += 1
            else:
                steps += black
        return steps
""",
    104: """
class Solution:
    def maximumOddBinaryNumber(self, s: str) -> str:
        ones = s.count("1")
        return "1" * (ones - 1) + "0" * (len(s) - ones) + "1"
""",
    136: """
class Solution:
    def countPairs(self, nums: List[int], target: int) -> int:
        return sum(a + b < target for a, b in combinations(nums, 2))
""",
    141: """
class Solution:
    def doubleIt(self, head: Optional[ListNode]) -> Optional[ListNode]:
        digits = []
        while head:
            digits.append(str(head.val))
            head = head.next
        node = None
        for digit in reversed(str(2 * int("".join(digits)))):
            node = ListNode(int(digit), node)
        return node
""",
    156: """
class Solution:
    def splitWordsBySeparator(self, words: List[str], separator: str) -> List[str]:
        return [part for word in words for part in word.split(separator) if part]
""",
    160: """
class Solution:
    def isGood(self, nums: List[int]) -> bool:
        return sorted(nums) == [*range(1, len(nums)), len(nums) - 1]
""",
}

# Rows of the shape of MBPP's, made by hand: what is asked, tests, and a program.
MBPP = [
    ("Write a function to add two numbers.", "add", ["(2, 3) == 5", "(-1, 1) == 0"], "return a + b", "a, b"),
    ("Write a function to reverse a string.", "mirror", ["('abc') == 'cba'"], "return s[::-1]", "s"),
    (
        "Write a function to share.",
        "shared",
        ["((1, 2), (2, 3)) == {2}"],
        "return set(a) & set(b)",
        "a, b",
    ),
    ("Write a function to count words.", "words", ["('a b a') == {'a': 2, 'b': 1}"], "return Counter(s.split())", "s"),
    ("Write a function to halve a number.", "halve", ["(3) == 1.5"], "return n / 2", "n"),
    ("Write a function to pair items.", "pairs", ["([1, 2, 3]) == [(1, 2), (2, 3)]"], "return [*zip(l, l[1:])]", "l"),
    (
        "Write a function to sort.",
        "order",
        ["(['bb', 'a']) == ['a', 'bb']"],
        "return sorted(l, key=len)",
        "l",
    ),
    ("Write a function to find the root.", "root", ["(16) == 4"], "return math.isqrt(n)", "n"),
    ("Write a function to tell whether it is even.", "even", ["(4) == True", "(5) == False"], "return n % 2 == 0", "n"),
    ("Write a function to take the first.", "first", ["([]) == None", "([7]) == 7"], "return l[0] if l else None", "l"),
]


def mbpp_rows() -> list[dict]:
    """Ten rows; two programs need their imports, as MBPP's do."""
    rows = []
    for number, (text, name, cases, body, arguments) in enumerate(MBPP, 1):
        code = f"import math\nfrom collections import Counter\ndef {name}({arguments}):\n    {body}"
        tests = [f"assert {name}{case}" for case in cases]
        rows.append({"task_id": number, "text": text, "code": code, "test_list": tests, "test_setup_code": ""})
    return rows

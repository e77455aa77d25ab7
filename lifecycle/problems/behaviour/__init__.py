"""Behaviour checks: what a model of one text, or of two, must do on texts that a person chose.

In the manner of CheckList: Ribeiro et al. (2020), Beyond Accuracy: Behavioral Testing of NLP Models with CheckList.

`suites`    the tests of a file, and the cases that they make
`changes`   what is made of a text
`asking`    a model is asked the cases, and what it fails is counted
"""
